import type { Logger } from "../logger.ts";

type Fields = Readonly<Record<string, unknown>>;

function text(fields: Fields, name: string, fallback = ""): string {
  const value = fields[name];
  if (value === undefined || value === null) return fallback;
  return typeof value === "string" ? value : JSON.stringify(value);
}

const phrases: Readonly<Record<string, (fields: Fields) => string>> = {
  "app.synced": (f) =>
    `${text(f, "app")} synced ${text(f, "functions")} functions from ${text(f, "url")}`,
  "app.unreachable": (f) => `no app at ${text(f, "url")}: ${text(f, "reason")}`,
  "app.reachable": (f) => `the app at ${text(f, "url")} is up`,
  "app.refused": (f) => `refused ${text(f, "app")} at ${text(f, "url")}: ${text(f, "reason")}`,
  "app.failed": (f) =>
    `${text(f, "app")} failed ${text(f, "function")} (${text(f, "url")}): ${text(f, "reason")}`,
  "event.received": (f) => `event ${text(f, "name")}`,
  "event.skipped": (f) =>
    `${text(f, "function")} skipped ${text(f, "name")}: ${text(f, "outcome")}, ${text(f, "reason")}`,
  "run.started": (f) => `${text(f, "function")} started`,
  "run.retrying": (f) =>
    `${text(f, "function")} tries ${text(f, "step", "again")} in ${Math.round(Number(f["inMs"]) / 1_000)} s (attempt ${Number(f["attempt"]) + 1}): ${text(f, "reason")}`,
  "run.completed": (f) => `${text(f, "function")} completed`,
  "run.failed": (f) => `${text(f, "function")} failed: ${text(f, "error")}`,
  "run.cancelled": (f) => `${text(f, "function")} cancelled: ${text(f, "reason")}`,
  "tick.responded": (f) => `tick: ${text(f, "mode", "responded")} (${text(f, "status")})`,
  "tick.refused": (f) =>
    `tick: ${text(f, "mode", "refused")} (${text(f, "status")})${f["hint"] === undefined ? "" : `: ${text(f, "hint")}`}`,
  "tick.unreachable": (f) =>
    `no answer from ${text(f, "url")} (${text(f, "reason")}); ticks begin when it is up`,
  "step.unsupported": (f) =>
    `${text(f, "function")} goes on without ${text(f, "step")}: the engine has no ${text(f, "op")}`,
  "fault.injected": (f) => `fault: ${text(f, "fault")}`,
};

/** What the live log writes with. */
export interface LiveLogDeps {
  readonly write: (line: string) => void;
  readonly now: () => number;
  /** Writes each line as one JSON object instead. */
  readonly isJson: boolean;
  /** Writes the small steps too. */
  readonly isVerbose: boolean;
}

/** A log for people: one line per event, the run's last characters to tell runs apart. */
export function createLiveLog(deps: LiveLogDeps): Logger {
  function line(level: string, event: string, fields: Fields): string {
    const time = new Date(deps.now()).toISOString();
    if (deps.isJson) return JSON.stringify({ time, level, event, ...fields });
    const mark = level === "error" ? "✗" : level === "warn" ? "!" : "·";
    const run = typeof fields["runId"] === "string" ? ` [${fields["runId"].slice(-6)}]` : "";
    const text = phrases[event]?.(fields) ?? `${event} ${JSON.stringify(fields)}`;
    return `${time.slice(11, 23)} ${mark} ${text}${run}`;
  }
  const log =
    (level: string) =>
    (event: string, fields: Fields = {}) =>
      deps.write(line(level, event, fields));
  return {
    debug: deps.isVerbose ? log("debug") : () => {},
    info: log("info"),
    warn: log("warn"),
    error: log("error"),
  };
}
