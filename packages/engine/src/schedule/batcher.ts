import type { FunctionConfig } from "../app/function-config.ts";
import type { StoredEvent } from "../event/event.ts";
import { compileExpression, evaluateKey } from "../expression/expression.ts";
import type { JsonObject } from "../json.ts";
import type { Timer, TimerQueue } from "../time/timer-queue.ts";

/** Collects events for one run: until the batch is full, or its time is over. */
export interface Batcher {
  /** Takes an event in; `false` when its function does not batch such an event. */
  append(fn: FunctionConfig, stored: StoredEvent, event: JsonObject): boolean;
  clear(): void;
}

interface Batch {
  readonly id: string;
  readonly events: StoredEvent[];
  readonly timer: Timer;
}

/** Creates a {@link Batcher}; `start` receives a batch that is full or whose time has come. */
export function createBatcher(deps: {
  timers: TimerQueue;
  now: () => number;
  nextId: () => string;
  start: (fn: FunctionConfig, events: readonly StoredEvent[], batchId: string) => void;
}): Batcher {
  const { timers, now, nextId, start } = deps;
  const batches = new Map<string, Batch>();

  function close(fn: FunctionConfig, key: string): void {
    const batch = batches.get(key);
    if (batch === undefined) return;
    batches.delete(key);
    batch.timer.cancel();
    start(fn, batch.events, batch.id);
  }

  return {
    append(fn, stored, event) {
      const config = fn.batch;
      if (config === undefined) return false;
      if (config.condition !== undefined) {
        const isEligible = compileExpression(config.condition).isTrue({ event });
        if (!isEligible) return false;
      }
      const key = `${fn.id} ${config.key === undefined ? "" : evaluateKey(config.key, event)}`;
      let batch = batches.get(key);
      if (batch === undefined) {
        batch = {
          id: nextId(),
          events: [],
          timer: timers.at(now() + config.timeoutMs, () => close(fn, key)),
        };
        batches.set(key, batch);
      }
      if (!batch.events.some((each) => each.internalId === stored.internalId)) {
        batch.events.push(stored);
      }
      if (batch.events.length >= config.maxSize) close(fn, key);
      return true;
    },
    clear: () => batches.clear(),
  };
}
