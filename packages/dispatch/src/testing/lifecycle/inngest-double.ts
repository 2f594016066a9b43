import { processRequested } from "@evenkeel/events";

import { settings } from "./settings.ts";

/** An event that has arrived. */
export interface ArrivedEvent {
  readonly id: string;
  readonly dispatchKey: string;
  readonly at: number;
}

interface SentEvent {
  readonly id: string;
  readonly name: string;
  readonly data: object;
}

/** Inngest as the ledger knows it: it remembers an event's id for a day, and starts runs whenever it likes. */
export class InngestDouble {
  readonly #now: () => number;
  isUnavailable = false;
  readonly events: ArrivedEvent[] = [];

  constructor(now: () => number) {
    this.#now = now;
  }

  send(events: readonly SentEvent[]): void {
    if (this.isUnavailable) throw new Error("Inngest is unavailable.");
    for (const { id, name, data } of events) {
      if (name !== processRequested.name || !("dispatchKey" in data)) continue;
      if (this.recent().some((event) => event.id === id)) continue;
      this.events.push({ id, dispatchKey: String(data.dispatchKey), at: this.#now() });
    }
  }

  /** The events that runs may still start from. */
  recent(): ArrivedEvent[] {
    return this.events.filter(({ at }) => at > this.#now() - settings.latenessMs);
  }
}
