import type { Run } from "../run/run.ts";
import type { Decision } from "../schedule/decision.ts";
import type { EngineEvent } from "./event.ts";

/** A received event with what became of it. */
export interface StoredEvent {
  /** The engine's id, a ULID: what the event API answers and the runs API asks for. */
  readonly internalId: string;
  /** 1 for the first event this engine received. */
  readonly ordinal: number;
  readonly receivedAtMs: number;
  readonly event: EngineEvent;
  /** The runs it started. */
  readonly runs: Run[];
  /** Why each matching function ran or did not. */
  readonly decisions: Decision[];
}

/** The newest events, as many as the retention allows. */
export interface EventLog {
  add(event: EngineEvent, internalId: string, receivedAtMs: number): StoredEvent;
  find(internalId: string): StoredEvent | undefined;
  /** Oldest first. */
  all(): StoredEvent[];
  clear(): void;
}

/** Creates an {@link EventLog} that keeps `limit` events. */
export function createEventLog(limit: number): EventLog {
  const events = new Map<string, StoredEvent>();
  let received = 0;
  return {
    add(event, internalId, receivedAtMs) {
      received += 1;
      // A request sent again with its seed gives its events the ids they had.
      const known = events.get(internalId);
      const stored: StoredEvent = {
        internalId,
        ordinal: received,
        receivedAtMs,
        event,
        runs: known?.runs ?? [],
        decisions: known?.decisions ?? [],
      };
      events.set(internalId, stored);
      if (events.size > limit) {
        const oldest = events.keys().next();
        if (oldest.done !== true) events.delete(oldest.value);
      }
      return stored;
    },
    find: (internalId) => events.get(internalId),
    all: () => [...events.values()],
    clear: () => events.clear(),
  };
}
