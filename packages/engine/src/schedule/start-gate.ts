import { type StoredEvent, internalEvents } from "../event/event.ts";
import type { JsonObject } from "../json.ts";
import type { Finalizer } from "../run/finalizer.ts";
import type { Run } from "../run/run.ts";
import { createExpiringMap } from "../time/expiring-map.ts";
import type { Debouncer } from "./debouncer.ts";
import type { DecisionLog } from "./decision-log.ts";
import type { Outcome } from "./decision.ts";
import type { Singletons } from "./singletons.ts";
import { createStartLimits } from "./start-limits.ts";
import type { StartRequest } from "./start-request.ts";

/** A start request with what the gate reads from it. */
export interface StartCandidate {
  readonly request: StartRequest;
  readonly trigger: StoredEvent;
  /** The trigger as expressions see it. */
  readonly event: JsonObject;
  /** The function and its idempotency key: one run per key within 24 hours. */
  readonly key: string;
}

/** Decides whether a run may start now: rate limits, debounce, singletons, pauses, duplicates, in this order. */
export interface StartGate {
  /**
   * Lets a candidate through, or rejects it with a decision on record. What passes may have cancelled
   * the run that held its singleton key.
   */
  pass(
    candidate: StartCandidate,
  ):
    | { readonly isOpen: true; readonly singletonKey: string | undefined }
    | { readonly isOpen: false };
  /** Remembers the run that a candidate became, so that its duplicates are known. */
  remember(candidate: StartCandidate, run: Run): void;
  /** Pauses a function by its internal id, or ends its pause. */
  setPaused(functionId: string, isPaused: boolean): void;
  clear(): void;
}

const dayMs = 86_400_000;
const closed = { isOpen: false } as const;

/** Creates a {@link StartGate}; `failInvocation` tells the caller of an invoked function that it was rejected. */
export function createStartGate(deps: {
  debouncer: Debouncer;
  singletons: Singletons;
  finalizer: Finalizer;
  decisions: DecisionLog;
  now: () => number;
  failInvocation: (trigger: StoredEvent, message: string) => void;
}): StartGate {
  const { debouncer, singletons, decisions, now } = deps;
  const limits = createStartLimits();
  const known = createExpiringMap<string>(dayMs);
  const paused = new Set<string>();

  function reject(
    { request }: StartCandidate,
    outcome: Outcome,
    reason: string,
    runId?: string,
  ): void {
    decisions.record(request.events, {
      function: request.fn.slug,
      outcome,
      reason,
      ...(runId === undefined ? {} : { runId }),
    });
  }

  function passLimits(candidate: StartCandidate): boolean {
    const { trigger, event } = candidate;
    const { fn } = candidate.request;
    const admission = limits.admit(fn, event, candidate.key, now());
    if (!admission.isAllowed) {
      const outcome = admission.by === "idempotency" ? "idempotent" : "rate limited";
      const key = JSON.stringify(admission.key);
      reject(candidate, outcome, `the ${admission.by} key ${key} is used up`);
      if (trigger.event.name === internalEvents.invoked) {
        deps.failInvocation(trigger, "invoked function is rate limited");
      }
      return false;
    }
    if (fn.debounce === undefined) return true;
    const at = new Date(debouncer.hold(fn, trigger, event)).toISOString();
    reject(candidate, "debounced", `starts at ${at} with the last event of its key`);
    return false;
  }

  function passSingleton(candidate: StartCandidate, holder: Run): boolean {
    const { request, trigger } = candidate;
    if (request.fn.singleton?.mode === "cancel") {
      const reason = `replaced by event ${trigger.event.name}`;
      deps.finalizer.finalize(holder, { status: "Cancelled", reason });
      return true;
    }
    const reason = "a run with the same key is under way";
    reject(candidate, "singleton skipped", reason, holder.id);
    return false;
  }

  return {
    pass(candidate) {
      const { request, trigger, event, key } = candidate;
      if (request.isAdmitted !== true && !passLimits(candidate)) return closed;
      const singletonKey = singletons.keyOf(request.fn, event);
      const holder = singletonKey === undefined ? undefined : singletons.holder(singletonKey);
      if (holder !== undefined && !passSingleton(candidate, holder)) return closed;
      if (paused.has(request.fn.id)) {
        reject(candidate, "paused", "the function is paused");
        return closed;
      }
      const earlier = known.get(key, now());
      if (earlier === undefined) return { isOpen: true, singletonKey };
      const id = JSON.stringify(trigger.event.id);
      const reason = `the event id ${id} has started this function within 24 hours`;
      reject(candidate, "duplicate event id", reason, earlier);
      return closed;
    },
    remember: (candidate, run) => known.set(candidate.key, run.id, now()),
    setPaused(functionId, isPaused) {
      if (isPaused) paused.add(functionId);
      else paused.delete(functionId);
    },
    clear() {
      limits.clear();
      known.clear();
      paused.clear();
    },
  };
}
