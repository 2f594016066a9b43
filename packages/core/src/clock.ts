/** Time as a component sees it. Tests pass a clock that they move by hand. */
export interface Clock {
  /** Returns milliseconds that never go back, from any origin. They go on while the machine is suspended. */
  now(): number;
  /** Calls back once after so many milliseconds, not counting those of a suspension. Returns a function that prevents it. */
  setTimer(callback: () => void, delayMs: number): () => void;
}

/** A smaller jump of the wall clock is its own: it is adjusted now and then. */
const leastSuspensionMs = 1_000;

/**
 * Returns a reading of milliseconds that goes on while the machine is suspended. The monotonic clock stops then (on
 * Linux), and the wall clock does not: by how much more it has moved since the last reading, the machine slept. A wall
 * clock that is set forward is taken for a suspension, so that what is timed ends early and not late.
 */
export function readThroughSuspension(
  monotonic: () => number,
  calendar: () => number,
): () => number {
  let suspendedMs = 0;
  let lastDifferenceMs: number | undefined;
  return () => {
    const nowMs = monotonic();
    const differenceMs = calendar() - nowMs;
    const jumpMs = differenceMs - (lastDifferenceMs ?? differenceMs);
    if (jumpMs > leastSuspensionMs) suspendedMs += jumpMs;
    lastDifferenceMs = differenceMs;
    return nowMs + suspendedMs;
  };
}

/** The process's clock and timers. */
export const systemClock: Clock = {
  now: readThroughSuspension(
    () => performance.now(),
    () => Date.now(),
  ),
  setTimer: (callback, delayMs) => {
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
};
