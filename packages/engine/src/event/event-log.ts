import type { EngineEvent, StoredEvent } from "./event.ts";

/** The newest events, as many as the retention allows. */
export interface EventLog {
  /** Adds an event; one sent again under its internal id replaces the earlier in its place. */
  add(event: EngineEvent, internalId: string, receivedAtMs: number): StoredEvent;
  find(internalId: string): StoredEvent | undefined;
  /** Oldest first. */
  all(): StoredEvent[];
  clear(): void;
}

/** Creates an {@link EventLog} that keeps `limit` events; `onDrop` hears the internal id of each dropped one. */
export function createEventLog(deps: {
  limit: number;
  onDrop: (internalId: string) => void;
}): EventLog {
  const { limit, onDrop } = deps;
  const events = new Map<string, StoredEvent>();
  let received = 0;
  return {
    add(event, internalId, receivedAtMs) {
      received += 1;
      const stored: StoredEvent = { internalId, ordinal: received, receivedAtMs, event };
      events.set(internalId, stored);
      if (events.size > limit) {
        const oldest = events.keys().next();
        if (oldest.done !== true) {
          events.delete(oldest.value);
          onDrop(oldest.value);
        }
      }
      return stored;
    },
    find: (internalId) => events.get(internalId),
    all: () => [...events.values()],
    clear: () => events.clear(),
  };
}
