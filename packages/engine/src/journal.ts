import type { Logger } from "./logger.ts";

/** One thing that happened in the engine. */
export interface JournalEntry {
  readonly atMs: number;
  /** What happened, such as `run.started`; the same name the logger hears. */
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** What happened, in order: the log, and the trace that two runs of one seed share. */
export interface Journal {
  record(
    level: "debug" | "info" | "warn" | "error",
    event: string,
    fields: Readonly<Record<string, unknown>>,
  ): void;
  /** The newest entries, oldest first. */
  entries(): JournalEntry[];
  clear(): void;
}

/** Creates a {@link Journal} that keeps `limit` entries and passes each on to the logger. */
export function createJournal(deps: { logger: Logger; now: () => number; limit: number }): Journal {
  const { logger, now, limit } = deps;
  let entries: JournalEntry[] = [];
  return {
    record(level, event, fields) {
      logger[level](event, fields);
      if (limit === 0) return;
      entries.push({ atMs: now(), event, fields });
      if (entries.length >= limit * 2) entries = entries.slice(-limit);
    },
    entries: () => entries.slice(-limit),
    clear() {
      entries = [];
    },
  };
}
