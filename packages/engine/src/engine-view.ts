import type { AppRegistry } from "./app/app-registry.ts";
import type { EventLog } from "./event/event-log.ts";
import type { EngineEvent, StoredEvent } from "./event/event.ts";
import type { Json } from "./json.ts";
import type { RunStore } from "./run/run-store.ts";
import type { Run, RunStatus, StepRecord } from "./run/run.ts";
import type { DecisionLog } from "./schedule/decision-log.ts";
import type { Decision } from "./schedule/decision.ts";

/** A run as tests see it. */
export interface RunSummary {
  readonly id: string;
  /** 1 for the first run of this engine. */
  readonly ordinal: number;
  /** The function's full id, `<app>-<function>`. */
  readonly function: string;
  readonly status: RunStatus;
  /** The events that started it. */
  readonly events: readonly EngineEvent[];
  /** What the function returned, or the error that failed it. */
  readonly output: Json | undefined;
  /** In the order they were found. */
  readonly steps: readonly Readonly<StepRecord>[];
  readonly queuedAtMs: number;
  readonly startedAtMs: number | undefined;
  readonly endedAtMs: number | undefined;
}

/** Which runs to return; every condition given must hold. */
export interface RunFilter {
  /** The function's full id, or its id within its app. */
  readonly function?: string;
  readonly status?: RunStatus;
  /** The id of an event that started the run: the sender's, or the engine's. */
  readonly event?: string;
}

/** A received event as tests see it. */
export interface EventSummary extends EngineEvent {
  /** The engine's own id, as the event API returned it. */
  readonly internalId: string;
  readonly receivedAtMs: number;
  /** The ids of the runs it started. */
  readonly runs: readonly string[];
}

/** Why each function ran, or did not, for one event. */
export interface Explanation {
  readonly event: EventSummary;
  readonly decisions: readonly Decision[];
}

/** Returns what the engine holds: runs, events, and why each function ran or did not. */
export interface EngineView {
  runs(filter?: RunFilter): RunSummary[];
  events(filter?: { readonly name?: string }): EventSummary[];
  explain(eventId: string): Explanation[];
}

/** Creates an {@link EngineView}. */
export function createEngineView(deps: {
  runs: RunStore;
  log: EventLog;
  decisions: DecisionLog;
  apps: AppRegistry;
}): EngineView {
  const { runs, log, decisions } = deps;

  function summarizeEvent(stored: StoredEvent): EventSummary {
    return {
      ...stored.event,
      internalId: stored.internalId,
      receivedAtMs: stored.receivedAtMs,
      runs: decisions.runsOf(stored.internalId).map((run) => run.id),
    };
  }

  return {
    runs: (filter = {}) =>
      runs
        .all()
        .filter((run) => isMatch(run, filter))
        .map(summarizeRun),
    events: (filter = {}) =>
      log
        .all()
        .filter((stored) => filter.name === undefined || stored.event.name === filter.name)
        .map(summarizeEvent),
    explain: (eventId) =>
      log
        .all()
        .filter((stored) => stored.internalId === eventId || stored.event.id === eventId)
        .map((stored) => ({
          event: summarizeEvent(stored),
          decisions: explainAll(decisions.decisionsOf(stored.internalId), deps.apps),
        })),
  };
}

function isMatch(run: Run, filter: RunFilter): boolean {
  const { slug, appName } = run.fn;
  if (
    filter.function !== undefined &&
    slug !== filter.function &&
    slug !== `${appName}-${filter.function}`
  ) {
    return false;
  }
  if (filter.status !== undefined && run.status !== filter.status) return false;
  return (
    filter.event === undefined ||
    run.events.some(
      (stored) => stored.internalId === filter.event || stored.event.id === filter.event,
    )
  );
}

function summarizeRun(run: Run): RunSummary {
  return {
    id: run.id,
    ordinal: run.ordinal,
    function: run.fn.slug,
    status: run.status,
    events: run.events.map((stored) => stored.event),
    output: run.output,
    steps: [...run.steps.values()].map((step) => ({ ...step })),
    queuedAtMs: run.queuedAtMs,
    startedAtMs: run.startedAtMs,
    endedAtMs: run.endedAtMs,
  };
}

/** Adds to the decisions on an event why every other function was not asked. */
function explainAll(decisions: readonly Decision[], apps: AppRegistry): Decision[] {
  const decided = new Set(decisions.map((decision) => decision.function));
  const unmatched = apps
    .functions()
    .filter((fn) => !decided.has(fn.slug))
    .map((fn): Decision => {
      const triggers = fn.triggers.map((trigger) =>
        trigger.kind === "event" ? trigger.event : `cron ${trigger.cron}`,
      );
      return {
        function: fn.slug,
        outcome: "no match",
        reason: `its triggers are ${triggers.join(", ") || "none"}`,
      };
    });
  return [...decisions, ...unmatched];
}
