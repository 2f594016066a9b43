import { setTimeout as sleep } from "node:timers/promises";

/** A task that runs again and again. */
export interface Repetition {
  /** Prevents the next run, and waits for the one under way. */
  stop(): Promise<void>;
}

/** Runs a task again and again, `pauseMs` milliseconds apart, until it is stopped. What it throws is reported. */
export function repeat(
  pauseMs: number,
  task: () => Promise<unknown>,
  onError: (error: unknown) => void,
): Repetition {
  const stopping = new AbortController();
  const { signal } = stopping;
  const loop = (async () => {
    while (!signal.aborted) {
      await task().catch(onError);
      await sleep(pauseMs, undefined, { signal }).catch(() => {});
    }
  })();
  return {
    stop: async () => {
      stopping.abort();
      await loop;
    },
  };
}
