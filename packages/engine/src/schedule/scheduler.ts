import type { AppRegistry } from "../app/app-registry.ts";
import type { FunctionConfig } from "../app/function-config.ts";
import {
  type EngineEvent,
  internalDataOf,
  internalEvents,
  matchingPatterns,
} from "../event/event.ts";
import type { StoredEvent } from "../event/event-log.ts";
import { compileExpression } from "../expression/expression.ts";
import type { Journal } from "../journal.ts";
import { type JsonObject, textOf } from "../json.ts";
import { type Finalizer, eventMap } from "../run/finalizer.ts";
import type { JobQueue } from "../queue/job-queue.ts";
import type { RunStore } from "../run/run-store.ts";
import type { Waiter } from "../step/wait-resolver.ts";
import { type ExpiringMap, createExpiringMap } from "../time/expiring-map.ts";
import type { TimerQueue } from "../time/timer-queue.ts";
import { createBatcher } from "./batcher.ts";
import { readClaims, readHeadStartMs, readRunClaims, readThrottleKey } from "./claims.ts";
import { createDebouncer } from "./debouncer.ts";
import type { Decision, Outcome } from "./decision.ts";
import type { Singletons } from "./singletons.ts";
import { createStartLimits } from "./start-limits.ts";

/** Decides which functions an event starts, and when. */
export interface Scheduler {
  /** Offers an event to every function. */
  onEvent(stored: StoredEvent): void;
  /** Starts a function at a tick of its cron trigger. */
  onTick(fn: FunctionConfig, cron: string, stored: StoredEvent): void;
  /** Pauses a function: new events are skipped and queued jobs wait. */
  setPaused(fn: FunctionConfig, isPaused: boolean): void;
  isPaused(fn: FunctionConfig): boolean;
  clear(): void;
}

/** How one run is asked for. */
interface StartRequest {
  readonly fn: FunctionConfig;
  readonly events: readonly StoredEvent[];
  readonly idempotencyKey: string;
  readonly batchId?: string;
  readonly cron?: string;
  /** Whether the event has passed rate limit and debounce before. */
  readonly isAdmitted?: boolean;
}

const dayMs = 86_400_000;

/** Creates a {@link Scheduler}. */
export function createScheduler(deps: {
  apps: AppRegistry;
  queue: JobQueue;
  runs: RunStore;
  waiter: Waiter;
  finalizer: Finalizer;
  singletons: Singletons;
  timers: TimerQueue;
  journal: Journal;
  now: () => number;
  nextId: () => string;
  publish: (event: EngineEvent) => void;
}): Scheduler {
  const { apps, queue, runs, waiter, finalizer, singletons, timers, journal, now, nextId } = deps;
  const limits = createStartLimits();
  const known: ExpiringMap<string> = createExpiringMap(dayMs);
  const paused = new Set<string>();
  const debouncer = createDebouncer({
    timers,
    now,
    start: (fn, stored) =>
      start({ fn, events: [stored], idempotencyKey: stored.internalId, isAdmitted: true }),
  });
  const batcher = createBatcher({
    timers,
    now,
    nextId,
    start: (fn, events, batchId) =>
      start({ fn, events, idempotencyKey: batchId, batchId, isAdmitted: true }),
  });

  function decide(request: StartRequest, outcome: Outcome, reason: string, runId?: string): void {
    const decision: Decision = {
      function: request.fn.slug,
      outcome,
      reason,
      ...(runId === undefined ? {} : { runId }),
    };
    for (const stored of request.events) stored.decisions.push(decision);
    if (outcome === "started" || outcome === "debounced" || outcome === "batched") return;
    journal.record("info", "event.skipped", {
      function: request.fn.slug,
      name: request.events[0]?.event.name,
      outcome,
      reason,
    });
  }

  function start(request: StartRequest): void {
    const { fn } = request;
    const trigger = request.events[0];
    if (trigger === undefined) return;
    const event = eventMap(trigger.event);
    const key = `${fn.id} ${request.idempotencyKey}`;
    if (request.isAdmitted !== true && !passLimits(request, trigger, event, key)) return;
    const singletonKey = passSingleton(request, event, trigger);
    if (singletonKey === false) return;
    if (paused.has(fn.id)) {
      decide(request, "paused", "the function is paused");
      return;
    }
    const earlier = known.get(key, now());
    if (earlier !== undefined) {
      decide(
        request,
        "duplicate event id",
        `the event id ${JSON.stringify(trigger.event.id)} has started this function within 24 hours`,
        earlier,
      );
      return;
    }
    createRun(request, event, key, singletonKey);
  }

  function passLimits(
    request: StartRequest,
    trigger: StoredEvent,
    event: JsonObject,
    key: string,
  ): boolean {
    const { fn } = request;
    const admission = limits.admit(fn, event, key, now());
    if (!admission.isAllowed) {
      const outcome = admission.by === "idempotency" ? "idempotent" : "rate limited";
      decide(
        request,
        outcome,
        `the ${admission.by} key ${JSON.stringify(admission.key)} is used up`,
      );
      if (trigger.event.name === internalEvents.invoked) {
        failInvocation(trigger, "invoked function is rate limited");
      }
      return false;
    }
    if (fn.debounce === undefined) return true;
    const atMs = debouncer.hold(fn, trigger, event);
    decide(
      request,
      "debounced",
      `starts at ${new Date(atMs).toISOString()} with the last event of its key`,
    );
    return false;
  }

  /** The key to hold, `undefined` for none, or `false` when the event is skipped. */
  function passSingleton(
    request: StartRequest,
    event: JsonObject,
    trigger: StoredEvent,
  ): string | undefined | false {
    const key = singletons.keyOf(request.fn, event);
    const holder = key === undefined ? undefined : singletons.holder(key);
    if (holder === undefined) return key;
    if (request.fn.singleton?.mode === "cancel") {
      finalizer.finalize(holder, {
        status: "Cancelled",
        reason: `replaced by event ${trigger.event.name}`,
      });
      return key;
    }
    decide(request, "singleton skipped", "a run with the same key is under way", holder.id);
    return false;
  }

  function createRun(
    request: StartRequest,
    event: JsonObject,
    key: string,
    singletonKey: string | undefined,
  ): void {
    const { fn, events } = request;
    const throttleKey = readThrottleKey(fn, event);
    const run = runs.create({
      id: nextId(),
      fn,
      events,
      idempotencyKey: key,
      queuedAtMs: now(),
      claims: readClaims(fn, event),
      runClaims: readRunClaims(fn, event),
      headStartMs: readHeadStartMs(fn, event),
      ...(request.batchId === undefined ? {} : { batchId: request.batchId }),
      ...(request.cron === undefined ? {} : { cron: request.cron }),
      ...(singletonKey === undefined ? {} : { singletonKey }),
      ...(throttleKey === undefined ? {} : { throttleKey }),
    });
    known.set(key, run.id, now());
    if (singletonKey !== undefined) singletons.hold(singletonKey, run);
    for (const stored of events) stored.runs.push(run);
    if (request.batchId === undefined) {
      if (fn.cancelOn.length > 0) waiter.watchForCancellation(run);
      if (fn.startTimeoutMs !== undefined) {
        const isStarted = () => run.startedAtMs !== undefined;
        waiter.cancelAt(run, now() + fn.startTimeoutMs, "start timeout reached", isStarted);
      }
    }
    decide(request, "started", `run ${run.id}`, run.id);
    journal.record("debug", "run.queued", {
      function: fn.slug,
      runId: run.id,
      run: run.ordinal,
      name: events[0]?.event.name,
    });
    const ts = events[0]?.event.ts ?? 0;
    queue.enqueue({
      id: "start",
      kind: "start",
      run,
      atMs: request.batchId === undefined ? Math.max(ts, now()) : now(),
    });
  }

  function failInvocation(trigger: StoredEvent, message: string): void {
    const correlationId = internalDataOf(trigger.event)["correlation_id"];
    deps.publish({
      id: nextId(),
      name: internalEvents.finished,
      data: {
        function_id: "",
        run_id: "",
        ...(typeof correlationId === "string" ? { correlation_id: correlationId } : {}),
        error: { name: "Error", message },
      },
      ts: now(),
      user: {},
    });
  }

  function invoke(stored: StoredEvent): void {
    const target = textOf(internalDataOf(stored.event)["fn_id"]) ?? "";
    const fn = apps.findFunction(target);
    if (fn === undefined) {
      failInvocation(
        stored,
        target === ""
          ? "could not extract function ID from event"
          : `could not find function with ID: ${target}`,
      );
      return;
    }
    offer(fn, stored);
  }

  function offer(fn: FunctionConfig, stored: StoredEvent): void {
    const request: StartRequest = {
      fn,
      events: [stored],
      idempotencyKey: stored.event.id,
    };
    try {
      if (batcher.append(fn, stored, eventMap(stored.event))) {
        if (!stored.decisions.some((each) => each.function === fn.slug)) {
          decide(request, "batched", "waits for its batch to fill or to time out");
        }
        return;
      }
      start(request);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      decide(request, "failed to schedule", reason);
      journal.record("error", "schedule.failed", { function: fn.slug, reason });
    }
  }

  return {
    onEvent(stored) {
      if (stored.event.name === internalEvents.invoked) invoke(stored);
      const patterns = matchingPatterns(stored.event.name);
      for (const fn of apps.functionsByEvent(stored.event.name)) {
        let filter: string | undefined;
        const isMet = fn.triggers.some((trigger) => {
          if (trigger.kind !== "event" || !patterns.includes(trigger.event)) return false;
          if (trigger.expression === undefined) return true;
          filter = trigger.expression;
          return compileExpression(trigger.expression).isTrue({ event: eventMap(stored.event) });
        });
        if (isMet) offer(fn, stored);
        else if (filter !== undefined) {
          stored.decisions.push({
            function: fn.slug,
            outcome: "filtered",
            reason: `the trigger's condition is not met: ${filter}`,
          });
        }
      }
    },
    onTick(fn, cron, stored) {
      start({ fn, events: [stored], idempotencyKey: stored.event.id, cron });
    },
    setPaused(fn, isPaused) {
      if (isPaused) paused.add(fn.id);
      else paused.delete(fn.id);
      queue.setPaused(fn, isPaused);
    },
    isPaused: (fn) => paused.has(fn.id),
    clear() {
      limits.clear();
      known.clear();
      paused.clear();
      debouncer.clear();
      batcher.clear();
      singletons.clear();
    },
  };
}
