import type { Faults } from "../fault/faults.ts";
import type { Journal } from "../journal.ts";
import type { Json } from "../json.ts";
import { createEventIds } from "./event-ids.ts";
import type { EventLog } from "./event-log.ts";
import { type EngineEvent, type StoredEvent, normalizeEvent } from "./event.ts";

/** The way in for events: from the event API, from tests, and from the engine itself. */
export interface Intake {
  /**
   * Takes in an event from outside.
   *
   * @throws EventRefusedError when the event API rejects it with a 400.
   */
  receive(raw: Json, origin?: EventOrigin): StoredEvent;
  /** Takes in one of the engine's own events. */
  publish(event: EngineEvent): StoredEvent;
  /** Why the event API refuses every event now, if a fault makes it. */
  refusal(): { readonly status: number; readonly reason: string } | undefined;
  /** Holds events until `release`: functions are not known yet. */
  hold(): void;
  release(): void;
  /** Forgets the events that are held, and the ids given out. */
  clear(): void;
}

/** How an event came in. */
export interface EventOrigin {
  /** What a sender that may try again puts on its request. */
  readonly seed?: string | undefined;
  /** Its place in the request, from 1. */
  readonly index: number;
  /** Runs work when the sender has its answer: what the event starts follows that. By default at once. */
  readonly afterResponse?: ((work: () => void) => void) | undefined;
}

/** Creates an {@link Intake}; `deliver` offers an event to functions and waiting runs. */
export function createIntake(deps: {
  log: EventLog;
  journal: Journal;
  faults: Faults;
  now: () => number;
  /** The engine's time for a time stamped by the machine's clock. */
  fromMachine: (timestampMs: number) => number;
  nextId: () => string;
  deliver: (stored: StoredEvent) => void;
}): Intake {
  const { log, journal, faults, now, fromMachine, nextId, deliver } = deps;
  const ids = createEventIds({ now, fromMachine, nextId });
  let holds = 0;
  let epoch = 0;
  let heldEvents: StoredEvent[] = [];

  function pass(stored: StoredEvent): void {
    if (holds > 0) heldEvents.push(stored);
    else faults.deliverEvent(stored.event.name, () => deliver(stored));
  }

  function store(
    event: EngineEvent,
    internalId: string,
    afterResponse: EventOrigin["afterResponse"],
  ): StoredEvent {
    const stored = log.add(event, internalId, now());
    journal.record("info", "event.received", { name: event.name, ordinal: stored.ordinal });
    if (afterResponse === undefined) {
      pass(stored);
      return stored;
    }
    const storedIn = epoch;
    afterResponse(() => {
      if (storedIn === epoch) pass(stored);
    });
    return stored;
  }

  return {
    receive(raw, origin) {
      const internalId = ids.idFor(origin?.seed, origin?.index ?? 1);
      const event = normalizeEvent(raw, internalId, now());
      const adopted = { ...event, ts: fromMachine(event.ts) };
      return store(adopted, internalId, origin?.afterResponse);
    },
    publish: (event) => store(event, nextId(), undefined),
    refusal: () => faults.eventRefusal(),
    hold() {
      holds += 1;
    },
    release() {
      holds -= 1;
      if (holds > 0) return;
      const events = heldEvents;
      heldEvents = [];
      for (const stored of events) pass(stored);
    },
    clear() {
      epoch += 1;
      heldEvents = [];
      ids.clear();
    },
  };
}
