import { EngineStalledError } from "./engine-error.ts";
import type { Executor } from "./executor.ts";
import type { Clock } from "./time/clock.ts";
import { parseDurationMs } from "./time/duration.ts";
import type { TimerQueue } from "./time/timer-queue.ts";

/** Waits for the engine to be quiet, and moves its virtual time. */
export interface EngineTime {
  /** Resolves when nothing is under way and nothing can continue without time or a new event. */
  settled(): Promise<void>;
  /** Moves virtual time on by a duration; resolves when quiet. Throws a `TypeError` for what is no duration. */
  advance(duration: string | number): Promise<void>;
  /** Moves virtual time to a moment: milliseconds or an ISO time. */
  advanceTo(time: number | string): Promise<void>;
}

/** Creates {@link EngineTime}; `start` is awaited before anything else, and `stallMs` is how long a call may hang. */
export function createEngineTime(deps: {
  clock: Clock;
  executor: Executor;
  timers: TimerQueue;
  stallMs: number;
  start: () => Promise<void>;
  /** What waits until a request to the engine has its response. */
  afterResponse: { settled(): Promise<void>; isPending(): boolean };
}): EngineTime {
  const { clock, executor, timers, stallMs, start, afterResponse } = deps;

  async function becomeQuiet(): Promise<void> {
    await start();
    do {
      await afterResponse.settled();
      executor.pump();
      if (!executor.isIdle()) await executor.idle();
    } while (afterResponse.isPending());
  }

  /** Gives up when a call hangs: virtual time cannot pass while an app works. */
  async function guardStall<T>(work: Promise<T>): Promise<T> {
    if (!clock.isVirtual) return work;
    let watched: string | undefined;
    let timer: NodeJS.Timeout | undefined;
    const stalled = new Promise<never>((_resolve, reject) => {
      timer = setInterval(() => {
        const calls = executor.calls();
        const seen = calls.map((call) => `${call.runId} ${call.generation}`).join();
        if (seen !== "" && seen === watched) reject(new EngineStalledError(calls, stallMs));
        watched = seen;
      }, stallMs / 2);
    });
    try {
      return await Promise.race([work, stalled]);
    } finally {
      clearInterval(timer);
    }
  }

  async function moveTo(targetMs: number): Promise<void> {
    await becomeQuiet();
    for (;;) {
      const nextMs = timers.nextAtMs();
      if (nextMs === undefined || nextMs > targetMs) break;
      clock.moveTo(nextMs);
      await becomeQuiet();
    }
    clock.moveTo(targetMs);
    await becomeQuiet();
  }

  return {
    settled: () => guardStall(becomeQuiet()),
    advance(duration) {
      const ms = parseDurationMs(duration);
      if (ms === undefined || ms < 0) {
        throw new TypeError(`${JSON.stringify(duration)} is no duration; write "15m".`);
      }
      return guardStall(moveTo(clock.now() + ms));
    },
    advanceTo: (time) => guardStall(moveTo(typeof time === "number" ? time : Date.parse(time))),
  };
}
