import type { CrashPoint } from "./crash-points.ts";

/** A process that freezes where it is told to die. Nothing but `comeBack` lets it continue. */
export class Host {
  readonly name: string;
  readonly #diesAt: CrashPoint | undefined;
  readonly #frozen = Promise.withResolvers<"frozen">();
  readonly #back = Promise.withResolvers<undefined>();
  #isFrozen = false;

  constructor(name: string, diesAt: CrashPoint | undefined) {
    this.name = name;
    this.#diesAt = diesAt;
  }

  /** Where the host is now; it stops here if this is where it dies. */
  async reached(point: CrashPoint): Promise<void> {
    if (point !== this.#diesAt || this.#isFrozen) return;
    this.#isFrozen = true;
    this.#frozen.resolve("frozen");
    await this.#back.promise;
  }

  /** Starts work, and resolves when it has ended or the host has frozen in its midst. */
  async run(work: () => Promise<unknown>): Promise<FrozenHost | undefined> {
    const ended = work();
    const outcome = await Promise.race([this.#frozen.promise, ended.then(() => "ended" as const)]);
    return outcome === "ended" ? undefined : { host: this, ended };
  }

  comeBack(): void {
    this.#back.resolve(undefined);
  }
}

/** A host that died, or seems to have: it may come back and continue where it stood. */
export interface FrozenHost {
  readonly host: Host;
  readonly ended: Promise<unknown>;
}
