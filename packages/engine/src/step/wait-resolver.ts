import { type EngineEvent, type StoredEvent, eventMap, internalEvents } from "../event/event.ts";
import { type Expression, compileExpression } from "../expression/expression.ts";
import type { Journal } from "../journal.ts";
import type { Json } from "../json.ts";
import type { Finalizer } from "../run/finalizer.ts";
import { type Run, isEnded } from "../run/run.ts";
import { parseDeadlineMs } from "../time/duration.ts";
import type { TimerQueue } from "../time/timer-queue.ts";
import type { StepSettler } from "./step-settler.ts";
import type { Wait, WaitStore } from "./wait-store.ts";

/** Ends the waits of runs: by an event, a signal, an invoked function's end, or time. */
export interface WaitResolver {
  /** Starts a wait; when its time is over the step settles with `timeoutValue`. */
  start(wait: Wait, timeoutValue: Json): void;
  /** Sets up what would cancel a new run: its `cancelOn` events. */
  watchForCancellation(run: Run): void;
  /** Cancels a run at a time, unless it has ended by then or `isMoot` says otherwise. */
  cancelAt(run: Run, atMs: number, reason: string, isMoot?: () => boolean): void;
  /** Lets an event end what waits for it. */
  onEvent(stored: StoredEvent): void;
  /** Lets a signal end what waits for it; returns the run it woke. */
  onSignal(signal: string, data: Json): Run | undefined;
}

/** How long a cancellation watches where it names no time, and any wait at most. */
const yearMs = 365 * 86_400_000;

/** Creates a {@link WaitResolver}. */
export function createWaitResolver(deps: {
  waits: WaitStore;
  timers: TimerQueue;
  settler: StepSettler;
  finalizer: Finalizer;
  journal: Journal;
  now: () => number;
}): WaitResolver {
  const { waits, timers, settler, finalizer, journal, now } = deps;

  function end(wait: Wait, value: Json, how: "completed" | "timed out"): void {
    waits.remove(wait);
    journal.record("debug", how === "completed" ? "wait.ended" : "wait.timed_out", {
      function: wait.run.fn.slug,
      runId: wait.run.id,
      step: wait.run.steps.get(wait.stepId)?.name ?? wait.stepId,
    });
    const suffix = how === "completed" ? "-event" : "-timeout";
    settler.settle(wait.run, {
      stepId: wait.stepId,
      value,
      status: how,
      isRace: wait.isRace,
      batchKey: wait.batchKey,
      suffix,
    });
  }

  function isMet(wait: Wait, stored: StoredEvent): boolean {
    if (isEnded(wait.run) || wait.expiresAtMs < now()) return false;
    if (wait.exceptEventId === stored.internalId) return false;
    if (wait.kind === "cancel" && stored.internalId <= wait.run.id) return false;
    if (wait.condition === undefined) return true;
    const trigger = wait.run.events[0];
    return wait.condition.isTrue({
      event: trigger === undefined ? {} : eventMap(trigger.event),
      async: eventMap(stored.event),
    });
  }

  function endInvoke(event: EngineEvent): void {
    const correlationId = event.data?.["correlation_id"];
    if (typeof correlationId !== "string") return;
    const wait = waits.byCorrelation(correlationId);
    if (wait === undefined || wait.expiresAtMs < now()) return;
    const { error, result } = event.data ?? {};
    if (error !== undefined) end(wait, { error }, "completed");
    // A cancelled function ends with neither: the server then hands on the event itself.
    else end(wait, result === undefined ? eventMap(event) : { data: result }, "completed");
  }

  return {
    start(wait, timeoutValue) {
      wait.timer = timers.at(wait.expiresAtMs, () => end(wait, timeoutValue, "timed out"));
      waits.add(wait);
    },
    watchForCancellation(run) {
      const trigger = run.events[0];
      for (const cancellation of run.fn.cancelOn) {
        const expiresAtMs =
          cancellation.timeout === undefined
            ? now() + yearMs
            : (parseDeadlineMs(cancellation.timeout, now()) ?? now() + yearMs);
        const condition: Expression | undefined =
          cancellation.condition === undefined
            ? undefined
            : compileExpression(cancellation.condition);
        const wait: Wait = {
          kind: "cancel",
          run,
          stepId: "",
          expiresAtMs,
          eventName: cancellation.event,
          isRace: false,
          batchKey: undefined,
          ...(condition === undefined ? {} : { condition }),
          ...(trigger === undefined ? {} : { exceptEventId: trigger.internalId }),
        };
        wait.timer = timers.at(expiresAtMs, () => waits.remove(wait));
        waits.add(wait);
      }
    },
    cancelAt(run, atMs, reason, isMoot) {
      const wait: Wait = {
        kind: "cancel",
        run,
        stepId: "",
        expiresAtMs: atMs,
        isRace: false,
        batchKey: undefined,
      };
      wait.timer = timers.at(atMs, () => {
        waits.remove(wait);
        if (isMoot?.() !== true) finalizer.finalize(run, { status: "Cancelled", reason });
      });
      waits.add(wait);
    },
    onEvent(stored) {
      if (stored.event.name === internalEvents.finished) endInvoke(stored.event);
      for (const wait of waits.byEvent(stored.event.name)) {
        if (!isMet(wait, stored)) continue;
        if (wait.kind === "cancel") {
          waits.remove(wait);
          finalizer.finalize(wait.run, {
            status: "Cancelled",
            reason: `cancelled by event ${stored.event.name}`,
          });
        } else {
          end(wait, eventMap(stored.event), "completed");
        }
      }
    },
    onSignal(signal, data) {
      const wait = waits.bySignal(signal);
      if (wait === undefined || wait.expiresAtMs < now()) return undefined;
      end(wait, { data: { signal, data } }, "completed");
      return wait.run;
    },
  };
}
