import type { LogFields, Logger } from "./logger.ts";
import { redactingLogger } from "./redacting-logger.ts";

/** How much a line matters, the least first. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** What {@link createConsoleLogger} works with. */
export interface ConsoleLoggerOptions {
  /** The least level that is written; defaults to `info`. */
  readonly level?: LogLevel;
  /**
   * `json`: one object a line, with `time`, `level` and `event` before the fields. `text`: for people. Defaults to
   * `text` where standard error is a terminal.
   */
  readonly format?: "json" | "text";
  /** What writes the lines; defaults to the global console: `warn` and `error` go to standard error. */
  readonly console?: Pick<Console, LogLevel>;
  /** Dates the lines; defaults to the system's clock. */
  readonly clock?: { now(): Date };
}

const levels: readonly LogLevel[] = ["debug", "info", "warn", "error"];

/**
 * Creates a logger that writes a line an event to the console, by the console's method of its level.
 *
 * @example
 * createConsoleLogger({ level: "warn" }).warn("dispatch.failed", { reason });
 */
export function createConsoleLogger(options: ConsoleLoggerOptions = {}): Logger {
  const { level: least = "info", clock = { now: () => new Date() } } = options;
  const writer =
    (level: LogLevel) =>
    (event: string, fields: LogFields = {}): void => {
      if (levels.indexOf(level) < levels.indexOf(least)) return;
      const format = options.format ?? (isTerminal() ? "text" : "json");
      const time = clock.now().toISOString();
      const line =
        format === "json"
          ? JSON.stringify(Object.assign({ time, level, event }, fields, { time, level, event }))
          : formatText(time, level, event, fields);
      // Looked up each time: a test or a host may have replaced the global one. One argument is never a format.
      (options.console ?? console)[level](line);
    };
  return redactingLogger({
    debug: writer("debug"),
    info: writer("info"),
    warn: writer("warn"),
    error: writer("error"),
  });
}

/** The logger of every package that is given none: lines from `info` on, written to the console. */
export const consoleLogger: Logger = createConsoleLogger();

/**
 * Returns the logger that a part works with, from its option: {@link consoleLogger} where there is none. What it is
 * given is redacted either way.
 */
export function resolveLogger(logger: Logger | undefined): Logger {
  return redactingLogger(logger ?? consoleLogger);
}

/** Some runtimes have no `process`. */
function isTerminal(): boolean {
  return typeof process === "object" && process.stderr?.isTTY;
}

/** One line a field's text cannot break: `12:00:00.000 WARN  dispatch.failed reason="fetch failed" attempts=3`. */
function formatText(time: string, level: LogLevel, event: string, fields: LogFields): string {
  const told = Object.entries(fields).flatMap(([name, value]) => {
    const json = JSON.stringify(value);
    if (json === undefined) return [];
    const isPlain = typeof value === "string" && /^[\w.:/|@+-]+$/u.test(value);
    return [`${name}=${isPlain ? value : json}`];
  });
  return [time.slice(11, 23), level.toUpperCase().padEnd(5), event, ...told].join(" ");
}
