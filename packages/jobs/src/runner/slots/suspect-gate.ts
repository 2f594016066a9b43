import type { ClaimedJob } from "@evenkeel/ledger";

/**
 * Lets suspects start one at a time in a process: whichever it dies of next, those that only ran beside it do not end
 * as `poison` with it.
 */
export class SuspectGate {
  #inside: ClaimedJob | undefined;
  readonly #waiting = new Set<() => void>();

  /** Returns whether the job may start. If not, calls back once when it may be worth asking again. */
  enter(job: ClaimedJob, onFree: () => void): boolean {
    if (this.#inside !== undefined) {
      this.#waiting.add(onFree);
      return false;
    }
    this.#inside = job;
    return true;
  }

  /** The job's attempt has ended. Of any other job than the one inside this changes nothing. */
  leave(job: ClaimedJob): void {
    if (this.#inside !== job) return;
    this.#inside = undefined;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const onFree of waiting) onFree();
  }

  /** Calls back no more. */
  forget(onFree: () => void): void {
    this.#waiting.delete(onFree);
  }
}
