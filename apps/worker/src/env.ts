import {
  parseBackgroundConfig,
  parseSwitch,
  readVariable,
  switchProblem,
  type BackgroundConfig,
  type ConfigProblem,
  type Environment,
} from "@evenkeel/dispatch";

/** What the worker reads from its environment. */
export interface WorkerEnvironment {
  readonly config: BackgroundConfig & { readonly databaseUrl: string };
  readonly host: string;
  readonly port: number;
  /** Where Inngest reaches this worker, when that is not the address it listens on. */
  readonly serveOrigin: string | undefined;
  /** How long running jobs may continue after SIGTERM, in milliseconds. */
  readonly drainMs: number;
  /** How long a sent window may wait for its run before it is sent again, in milliseconds. */
  readonly neverStartedAfterMs: number;
  /** How long a run may be silent before another takes its window over, in milliseconds. */
  readonly staleAfterMs: number;
  /** Whether this worker looks for windows that no tick asked for. */
  readonly watchesSchedules: boolean;
  /** Settings of the sample product. */
  readonly inbox: {
    readonly replyDelayMs: number;
    /** Whether drafts and mailboxes fail now and then, as the demo wants it. */
    readonly simulatedFaults: boolean;
  };
}

/** The variables that only this host reads. */
const hostVariables = [
  "HOST",
  "PORT",
  "INNGEST_SERVE_ORIGIN",
  "WORKER_DRAIN_SECONDS",
  "WORKER_REPAIR_AFTER_SECONDS",
  "WORKER_STALE_AFTER_SECONDS",
  "WORKER_WATCH_SCHEDULES",
  "INBOX_REPLY_DELAY_SECONDS",
  "INBOX_SIMULATED_FAULTS",
];

/** @throws DispatchError `invalid_configuration` with every problem at once, by name and never by value. */
export function readEnvironment(variables: Environment): WorkerEnvironment {
  const hostProblems: ConfigProblem[] = [];
  const wholeNumber = (name: string, fallback: number, max: number): number => {
    const text = readVariable(variables, name);
    if (text === undefined) return fallback;
    const value = /^\d+$/u.test(text) ? Number(text) : Number.NaN;
    if (value <= max) return value;
    hostProblems.push({ name, problem: `must be a whole number from 0 to ${max}` });
    return fallback;
  };
  const port = wholeNumber("PORT", 3001, 65_535);
  const drainMs = wholeNumber("WORKER_DRAIN_SECONDS", 20, 3_600) * 1_000;
  const neverStartedAfterMs = wholeNumber("WORKER_REPAIR_AFTER_SECONDS", 120, 86_400) * 1_000;
  const staleAfterMs = wholeNumber("WORKER_STALE_AFTER_SECONDS", 1_200, 86_400) * 1_000;
  const replyDelayMs = wholeNumber("INBOX_REPLY_DELAY_SECONDS", 60, 86_400) * 1_000;
  const flag = (name: string, fallback: boolean): boolean => {
    const text = readVariable(variables, name);
    if (text === undefined) return fallback;
    const value = parseSwitch(text);
    if (value === undefined) hostProblems.push({ name, problem: switchProblem });
    return value ?? fallback;
  };
  const simulatedFaults = flag("INBOX_SIMULATED_FAULTS", false);
  const watchesSchedules = flag("WORKER_WATCH_SCHEDULES", true);
  const config = parseBackgroundConfig(variables, {
    now: new Date(),
    required: ["DATABASE_URL"],
    servesFunctions: true,
    hostName: "worker",
    hostProblems,
    hostVariables,
  });
  return {
    config: { ...config, databaseUrl: config.databaseUrl ?? "" },
    host: readVariable(variables, "HOST") ?? "0.0.0.0",
    port,
    serveOrigin: readVariable(variables, "INNGEST_SERVE_ORIGIN"),
    drainMs,
    neverStartedAfterMs,
    staleAfterMs,
    watchesSchedules,
    inbox: { replyDelayMs, simulatedFaults },
  };
}
