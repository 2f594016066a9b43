import type { Clock } from "@evenkeel/core";

/** The timers of one drain, which end with it. */
export class DrainTimers {
  readonly #clock: Clock;
  readonly #cancels = new Set<() => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Calls back after so many milliseconds, never for an infinite number. Returns a function that prevents it. */
  set(callback: () => void, delayMs: number): () => void {
    if (delayMs === Number.POSITIVE_INFINITY) return () => {};
    const cancel = this.#clock.setTimer(() => {
      this.#cancels.delete(cancel);
      callback();
    }, delayMs);
    this.#cancels.add(cancel);
    return () => {
      this.#cancels.delete(cancel);
      cancel();
    };
  }

  /** Ends all of them. */
  clear(): void {
    for (const cancel of this.#cancels) cancel();
  }
}
