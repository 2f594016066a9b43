import {
  type EngineEvent,
  eventMap,
  internalDataKey,
  internalDataOf,
  internalEvents,
} from "../event/event.ts";
import type { Journal } from "../journal.ts";
import { type Json, type JsonObject } from "../json.ts";
import type { StandardError } from "./run-error.ts";
import type { RunStore } from "./run-store.ts";
import { type Run, type RunStatus, isEnded } from "./run.ts";

/** How a run ends. */
export interface Ending {
  readonly status: Extract<RunStatus, "Completed" | "Failed" | "Cancelled">;
  readonly output?: Json;
  readonly error?: StandardError;
  readonly reason?: string;
}

/** Ends runs: once, with the events that tell of it. */
export interface Finalizer {
  finalize(run: Run, ending: Ending): void;
}

/**
 * Creates a {@link Finalizer}. `onEnd` releases what the run holds, before anybody hears of its end;
 * `publish` receives the server's own events about the ended run.
 */
export function createFinalizer(deps: {
  runs: RunStore;
  journal: Journal;
  now: () => number;
  nextId: () => string;
  publish: (event: EngineEvent) => void;
  onEnd: (run: Run) => void;
}): Finalizer {
  const { runs, journal, now, nextId, publish, onEnd } = deps;

  function publishEnd(run: Run, ending: Ending): void {
    const ts = now();
    for (const [index, stored] of run.events.entries()) {
      const { event } = stored;
      if (event.name === internalEvents.failed || event.name === internalEvents.finished) continue;
      const correlationId = correlationOf(event);
      if (index > 0 && correlationId === undefined) continue;
      const data: JsonObject = {
        function_id: run.fn.slug,
        run_id: run.id,
        event: eventMap(event),
        events: run.events.map((each) => eventMap(each.event)),
        ...(ending.error === undefined ? {} : { error: { ...ending.error } }),
        ...(ending.output === undefined || (ending.output === null && ending.error !== undefined)
          ? {}
          : { result: ending.output }),
        ...(correlationId === undefined ? {} : { correlation_id: correlationId }),
        [internalDataKey]: { status: ending.status },
      };
      const tell = (name: string, id: string) =>
        publish({ id, name, data, ts, user: {}, ...(event.meta ? { meta: event.meta } : {}) });
      tell(internalEvents.finished, nextId());
      if (ending.status === "Cancelled") tell(internalEvents.cancelled, run.id);
      if (ending.status === "Failed") tell(internalEvents.failed, run.id);
    }
  }

  return {
    finalize(run, ending) {
      if (isEnded(run)) return;
      run.status = ending.status;
      run.endedAtMs = now();
      run.output = ending.error === undefined ? ending.output : { ...ending.error };
      onEnd(run);
      journal.record(ending.status === "Failed" ? "error" : "info", endEvents[ending.status], {
        function: run.fn.slug,
        runId: run.id,
        ...(ending.error ? { error: `${ending.error.name}: ${ending.error.message}` } : {}),
        ...(ending.reason === undefined ? {} : { reason: ending.reason }),
      });
      runs.retire(run);
      publishEnd(run, ending);
    },
  };
}

const endEvents = {
  Completed: "run.completed",
  Failed: "run.failed",
  Cancelled: "run.cancelled",
} as const;

function correlationOf(event: EngineEvent): string | undefined {
  const correlationId = internalDataOf(event)["correlation_id"];
  return typeof correlationId === "string" ? correlationId : undefined;
}
