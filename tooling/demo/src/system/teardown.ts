/** What has to be undone, last first, whatever ends the demo. */
export class Teardown {
  readonly #steps: { readonly name: string; readonly undo: () => Promise<void> }[] = [];
  #running: Promise<void> | undefined;

  add(name: string, undo: () => Promise<void>): void {
    this.#steps.push({ name, undo });
  }

  /** Undoes everything, once; one step that fails does not keep the others. */
  run(): Promise<void> {
    this.#running ??= this.#undoAll();
    return this.#running;
  }

  async #undoAll(): Promise<void> {
    for (const { name, undo } of this.#steps.toReversed()) {
      try {
        await undo();
      } catch (error) {
        process.stderr.write(`Could not stop ${name}: ${String(error)}\n`);
      }
    }
  }
}
