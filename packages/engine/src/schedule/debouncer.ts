import type { FunctionConfig } from "../app/function-config.ts";
import type { StoredEvent } from "../event/event.ts";
import { evaluateKey } from "../expression/expression.ts";
import type { JsonObject } from "../json.ts";
import type { Timer, TimerQueue } from "../time/timer-queue.ts";

/** Delays events until none has come for the debounce period; the last one starts the function. */
export interface Debouncer {
  /** Takes an event in; returns when the function is to start, unless another event comes. */
  hold(fn: FunctionConfig, stored: StoredEvent, event: JsonObject): number;
  clear(): void;
}

interface Held {
  stored: StoredEvent;
  timer: Timer;
  readonly deadlineMs: number;
}

/** Creates a {@link Debouncer}; `start` receives the last event when its time has come. */
export function createDebouncer(deps: {
  timers: TimerQueue;
  now: () => number;
  start: (fn: FunctionConfig, stored: StoredEvent) => void;
}): Debouncer {
  const { timers, now, start } = deps;
  const held = new Map<string, Held>();
  return {
    hold(fn, stored, event) {
      const config = fn.debounce;
      if (config === undefined) throw new Error(`${fn.slug} has no debounce`);
      const key = `${fn.id} ${config.key === undefined ? "" : evaluateKey(config.key, event)}`;
      const known = held.get(key);
      known?.timer.cancel();
      const deadlineMs =
        known?.deadlineMs ?? now() + (config.timeoutMs ?? Number.POSITIVE_INFINITY);
      const atMs = Math.max(Math.min(now() + config.periodMs, deadlineMs), now());
      // An event that happened earlier than the one held does not replace it.
      const last =
        known !== undefined && known.stored.event.ts > stored.event.ts ? known.stored : stored;
      const timer = timers.at(atMs, () => {
        held.delete(key);
        start(fn, last);
      });
      held.set(key, { stored: last, timer, deadlineMs });
      return atMs;
    },
    clear: () => held.clear(),
  };
}
