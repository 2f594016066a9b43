/** Time, as the runner sees it. Tests pass one that they move by hand. */
export interface Clock {
  /** Milliseconds that never go back, from any origin. */
  now(): number;
  /** Calls back once after so many milliseconds. Answers a function that prevents it. */
  setTimer(callback: () => void, delayMs: number): () => void;
}

/** The process's monotonic clock and timers. */
export const systemClock: Clock = {
  now: () => performance.now(),
  setTimer: (callback, delayMs) => {
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
};

/** The promise's value, or `undefined` if the time passes first: the promise is then left to itself. */
export async function within<Value>(
  clock: Clock,
  delayMs: number,
  promise: Promise<Value>,
): Promise<Value | undefined> {
  let cancel = (): void => {};
  const timer = new Promise<undefined>((resolve) => {
    cancel = clock.setTimer(() => resolve(undefined), Math.max(0, delayMs));
  });
  try {
    return await Promise.race([promise, timer]);
  } finally {
    cancel();
  }
}
