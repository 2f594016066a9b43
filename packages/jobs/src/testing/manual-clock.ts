import type { Clock } from "@evenkeel/core";

/** A clock that a test moves by hand. */
export interface ManualClock extends Clock {
  /** Lets the time pass and calls back the timers that end in it, in their order. */
  advance(byMs: number): void;
  /** Lets the time pass as while the machine is suspended: no timer comes nearer to its end. */
  suspend(forMs: number): void;
}

/** Creates a {@link ManualClock} that stands at 0. */
export function createManualClock(): ManualClock {
  let nowMs = 0;
  const timers = new Set<{ atMs: number; readonly callback: () => void }>();
  return {
    now: () => nowMs,
    setTimer: (callback, delayMs) => {
      const timer = { atMs: nowMs + delayMs, callback };
      timers.add(timer);
      return () => timers.delete(timer);
    },
    suspend: (forMs) => {
      nowMs += forMs;
      for (const timer of timers) timer.atMs += forMs;
    },
    advance: (byMs) => {
      const untilMs = nowMs + byMs;
      for (;;) {
        const [next] = [...timers]
          .filter(({ atMs }) => atMs <= untilMs)
          .toSorted((a, b) => a.atMs - b.atMs);
        if (next === undefined) break;
        timers.delete(next);
        nowMs = Math.max(nowMs, next.atMs);
        next.callback();
      }
      nowMs = untilMs;
    },
  };
}
