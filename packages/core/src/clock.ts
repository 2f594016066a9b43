/** Time as a component sees it. Tests pass a clock that they move by hand. */
export interface Clock {
  /** Returns milliseconds that never go back, from any origin. */
  now(): number;
  /** Calls back once after so many milliseconds. Returns a function that prevents it. */
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
