import type { StoredEvent } from "../event/event.ts";
import type { Journal } from "../journal.ts";
import type { Run } from "../run/run.ts";
import type { Decision, Outcome } from "./decision.ts";

/** What became of each event: why every function ran or did not, and the runs that were started. */
export interface DecisionLog {
  /** Records what one function made of some events, and journals it where a run was not to be had. */
  record(events: readonly StoredEvent[], decision: Decision): void;
  /** Records that an event started a run. */
  addRun(internalId: string, run: Run): void;
  /** The decisions about an event, oldest first; empty for an event that is not kept. */
  decisionsOf(internalId: string): readonly Decision[];
  /** The runs that an event started, oldest first; empty for an event that is not kept. */
  runsOf(internalId: string): readonly Run[];
  /** Forgets an event that the event log has dropped. */
  forget(internalId: string): void;
  clear(): void;
}

interface Entry {
  readonly runs: Run[];
  readonly decisions: Decision[];
}

/** Outcomes that the journal tells in other words, or that are the rule. */
const unjournaled: ReadonlySet<Outcome> = new Set(["started", "debounced", "batched", "filtered"]);

/**
 * Creates a {@link DecisionLog}. An event sent again under its id keeps its entry. What is recorded of an
 * event that `isKept` denies is ignored, so that the log never outgrows the event log.
 */
export function createDecisionLog(deps: {
  journal: Journal;
  isKept: (internalId: string) => boolean;
}): DecisionLog {
  const { journal, isKept } = deps;
  const entries = new Map<string, Entry>();

  function entryOf(internalId: string): Entry | undefined {
    const known = entries.get(internalId);
    if (known !== undefined || !isKept(internalId)) return known;
    const entry: Entry = { runs: [], decisions: [] };
    entries.set(internalId, entry);
    return entry;
  }

  return {
    record(events, decision) {
      for (const { internalId } of events) entryOf(internalId)?.decisions.push(decision);
      if (unjournaled.has(decision.outcome)) return;
      journal.record("info", "event.skipped", {
        function: decision.function,
        name: events[0]?.event.name,
        outcome: decision.outcome,
        reason: decision.reason,
      });
    },
    addRun: (internalId, run) => void entryOf(internalId)?.runs.push(run),
    decisionsOf: (internalId) => entries.get(internalId)?.decisions ?? [],
    runsOf: (internalId) => entries.get(internalId)?.runs ?? [],
    forget: (internalId) => void entries.delete(internalId),
    clear: () => entries.clear(),
  };
}
