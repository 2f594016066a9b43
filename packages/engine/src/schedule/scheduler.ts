import type { AppRegistry } from "../app/app-registry.ts";
import type { FunctionConfig } from "../app/function-config.ts";
import {
  type EngineEvent,
  type StoredEvent,
  eventMap,
  internalDataOf,
  internalEvents,
  matchingPatterns,
} from "../event/event.ts";
import { compileExpression } from "../expression/expression.ts";
import type { Journal } from "../journal.ts";
import { textOf } from "../json.ts";
import type { JobQueue } from "../queue/job-queue.ts";
import type { Finalizer } from "../run/finalizer.ts";
import type { RunStore } from "../run/run-store.ts";
import type { WaitResolver } from "../step/wait-resolver.ts";
import type { TimerQueue } from "../time/timer-queue.ts";
import { createBatcher } from "./batcher.ts";
import { createDebouncer } from "./debouncer.ts";
import type { DecisionLog } from "./decision-log.ts";
import { createRunStarter } from "./run-starter.ts";
import type { Singletons } from "./singletons.ts";
import { createStartGate } from "./start-gate.ts";

/** Decides which functions an event starts, and when. */
export interface Scheduler {
  /** Offers an event to every function. */
  onEvent(stored: StoredEvent): void;
  /** Starts a function at a tick of its cron trigger. */
  onTick(fn: FunctionConfig, cron: string, stored: StoredEvent): void;
  /** Pauses a function: new events are skipped and queued jobs wait. */
  setPaused(fn: FunctionConfig, isPaused: boolean): void;
  clear(): void;
}

/** Creates a {@link Scheduler}; `publish` receives the end of an invocation that starts nothing. */
export function createScheduler(deps: {
  apps: AppRegistry;
  queue: JobQueue;
  runs: RunStore;
  waitResolver: WaitResolver;
  finalizer: Finalizer;
  singletons: Singletons;
  decisions: DecisionLog;
  timers: TimerQueue;
  journal: Journal;
  now: () => number;
  nextId: () => string;
  publish: (event: EngineEvent) => void;
}): Scheduler {
  const { apps, queue, singletons, decisions, timers, journal, now, nextId } = deps;
  const debouncer = createDebouncer({
    timers,
    now,
    start: (fn, stored) =>
      starter.start({ fn, events: [stored], idempotencyKey: stored.internalId, isAdmitted: true }),
  });
  const batcher = createBatcher({
    timers,
    now,
    nextId,
    start: (fn, events, batchId) =>
      starter.start({ fn, events, idempotencyKey: batchId, batchId, isAdmitted: true }),
  });
  const gate = createStartGate({ ...deps, debouncer, failInvocation });
  const starter = createRunStarter({ ...deps, gate });

  function failInvocation(trigger: StoredEvent, message: string): void {
    deps.publish(failedInvocation(trigger, message, { id: nextId(), ts: now() }));
  }

  function invoke(stored: StoredEvent): void {
    const target = textOf(internalDataOf(stored.event)["fn_id"]) ?? "";
    const fn = apps.findFunction(target);
    if (fn !== undefined) offer(fn, stored);
    else if (target === "") failInvocation(stored, "could not extract function ID from event");
    else failInvocation(stored, `could not find function with ID: ${target}`);
  }

  function offer(fn: FunctionConfig, stored: StoredEvent): void {
    const events = [stored];
    const decided = { function: fn.slug } as const;
    try {
      if (!batcher.append(fn, stored, eventMap(stored.event))) {
        starter.start({ fn, events, idempotencyKey: stored.event.id });
        return;
      }
      const made = decisions.decisionsOf(stored.internalId);
      if (made.some((each) => each.function === fn.slug)) return;
      const reason = "waits for its batch to fill or to time out";
      decisions.record(events, { ...decided, outcome: "batched", reason });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      decisions.record(events, { ...decided, outcome: "failed to schedule", reason });
      journal.record("error", "schedule.failed", { function: fn.slug, reason });
    }
  }

  return {
    onEvent(stored) {
      if (stored.event.name === internalEvents.invoked) invoke(stored);
      const patterns = matchingPatterns(stored.event.name);
      for (const fn of apps.functionsByEvent(stored.event.name)) {
        const match = matchTriggers(fn, stored.event, patterns);
        if (match.isMet) offer(fn, stored);
        else if (match.filter !== undefined) {
          decisions.record([stored], {
            function: fn.slug,
            outcome: "filtered",
            reason: `the trigger's condition is not met: ${match.filter}`,
          });
        }
      }
    },
    onTick(fn, cron, stored) {
      starter.start({ fn, events: [stored], idempotencyKey: stored.event.id, cron });
    },
    setPaused(fn, isPaused) {
      gate.setPaused(fn.id, isPaused);
      queue.setPaused(fn, isPaused);
    },
    clear() {
      gate.clear();
      debouncer.clear();
      batcher.clear();
      singletons.clear();
    },
  };
}

/** Whether an event meets one of a function's triggers; `filter` is the condition asked last. */
function matchTriggers(
  fn: FunctionConfig,
  event: EngineEvent,
  patterns: readonly string[],
): { readonly isMet: boolean; readonly filter: string | undefined } {
  let filter: string | undefined;
  const isMet = fn.triggers.some((trigger) => {
    if (trigger.kind !== "event" || !patterns.includes(trigger.event)) return false;
    if (trigger.expression === undefined) return true;
    filter = trigger.expression;
    return compileExpression(trigger.expression).isTrue({ event: eventMap(event) });
  });
  return { isMet, filter };
}

/** The end of an invoked function that never ran, for the run that waits for it. */
function failedInvocation(
  trigger: StoredEvent,
  message: string,
  { id, ts }: { readonly id: string; readonly ts: number },
): EngineEvent {
  const correlationId = internalDataOf(trigger.event)["correlation_id"];
  return {
    id,
    name: internalEvents.finished,
    data: {
      function_id: "",
      run_id: "",
      ...(typeof correlationId === "string" ? { correlation_id: correlationId } : {}),
      error: { name: "Error", message },
    },
    ts,
    user: {},
  };
}
