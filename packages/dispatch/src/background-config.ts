import { defined } from "@evenkeel/core";
import { z } from "zod";

import { DispatchError } from "./dispatch-error.ts";

/** The longest time that the emergency switch may be set ahead, in milliseconds: 24 hours. */
const maxFallbackMs = 24 * 60 * 60 * 1000;

/** The configuration of a host, parsed once per process. */
export interface BackgroundConfig {
  /** Secrets that authenticate cron requests, the current one first; empty closes the endpoint. */
  readonly cronSecrets: readonly string[];
  readonly useInngest: {
    readonly enabled: boolean;
    /** Why, in words for an operator. */
    readonly because: string;
  };
  /** The operator's rollback: run inline and send nothing. */
  readonly forceInline: boolean;
  /** Until when a failed send falls back to inline work. Absent: never. Judged against the clock at each tick. */
  readonly inlineFallbackUntil?: Date;
  /** Length of a dispatch window in seconds. */
  readonly windowSeconds: number;
  /** Concurrent process runs. */
  readonly concurrency: number;
  /**
   * Part of every event id, so that environments that share an Inngest account stay apart: `INNGEST_ENV`,
   * or `production`. Every host of an environment must see the same.
   */
  readonly environment: string;
  /** Where Postgres is. */
  readonly databaseUrl?: string;
  readonly inngest: {
    readonly eventKey?: string;
    readonly signingKey?: string;
    readonly baseUrl?: string;
    /** Whether the SDK talks to a development server, and its address if one is given. */
    readonly dev: boolean;
    readonly devUrl?: string;
    readonly env?: string;
  };
}

/** One variable and what is wrong with it; never its value. */
export interface ConfigProblem {
  readonly name: string;
  readonly problem: string;
}

/** Environment variables, as in `process.env`. */
export type Environment = Readonly<Record<string, string | undefined>>;

const text = z.preprocess((value) => (value === "" ? undefined : value), z.string().optional());

const flag = text.transform((value, context) => {
  if (value === undefined) return undefined;
  if (value === "true" || value === "1") return true;
  if (value === "false" || value === "0") return false;
  context.addIssue({ code: "custom", message: "must be true or false" });
  return z.NEVER;
});

function wholeNumber(min: number, max: number, fallback: number): z.ZodType<number> {
  return text.transform((value, context) => {
    if (value === undefined) return fallback;
    const number = /^\d+$/u.test(value) ? Number(value) : Number.NaN;
    if (number >= min && number <= max) return number;
    context.addIssue({ code: "custom", message: `must be a whole number from ${min} to ${max}` });
    return z.NEVER;
  });
}

const instant = text.transform((value, context) => {
  if (value === undefined) return undefined;
  const result = z.iso.datetime({ offset: true }).safeParse(value);
  if (result.success) return new Date(value);
  context.addIssue({
    code: "custom",
    message: "must be an ISO 8601 time such as 2026-01-01T00:00:00Z",
  });
  return z.NEVER;
});

const url = text.transform((value, context) => {
  if (value === undefined || z.url({ protocol: /^https?$/u }).safeParse(value).success)
    return value;
  context.addIssue({ code: "custom", message: "must be an http or https URL" });
  return z.NEVER;
});

const databaseUrl = text.transform((value, context) => {
  if (value === undefined || z.url({ protocol: /^postgres(ql)?$/u }).safeParse(value).success)
    return value;
  context.addIssue({
    code: "custom",
    message: "must be of the form postgresql://user:password@host:5432/database",
  });
  return z.NEVER;
});

const variables = z.object({
  CRON_SECRET: text,
  CRON_SECRET_PREVIOUS: text,
  BACKGROUND_JOBS_USE_INNGEST: flag,
  BACKGROUND_JOBS_FORCE_INLINE: flag,
  BACKGROUND_JOBS_INLINE_EMERGENCY_FALLBACK: flag,
  BACKGROUND_JOBS_INLINE_EMERGENCY_FALLBACK_UNTIL: instant,
  BACKGROUND_JOBS_DISPATCH_WINDOW_SECONDS: wholeNumber(15, 3600, 60),
  BACKGROUND_JOBS_INNGEST_CONCURRENCY: wholeNumber(1, 64, 4),
  INNGEST_EVENT_KEY: text,
  INNGEST_SIGNING_KEY: text,
  INNGEST_BASE_URL: url,
  INNGEST_DEV: text,
  INNGEST_ENV: text,
  DATABASE_URL: databaseUrl,
});

/** What a host says about its configuration. */
export interface ConfigOptions {
  /** The time that the emergency switch's end is judged by: it is at most 24 hours later. */
  readonly now: Date;
  /** Names of variables that must be set on this host; none by default. */
  readonly required?: readonly string[];
  /** Problems with the host's own variables, to be reported together with the others; none by default. */
  readonly hostProblems?: readonly ConfigProblem[];
}

/**
 * Parses the variables that the repository's README lists. An empty variable counts as unset.
 *
 * @throws DispatchError `invalid_configuration` with every problem at once in `problems`, by variable name
 * and never by value.
 */
export function parseBackgroundConfig(
  environment: Environment,
  { now, required = [], hostProblems = [] }: ConfigOptions,
): BackgroundConfig {
  const parsed = variables.safeParse(environment);
  const problems: ConfigProblem[] = [...hostProblems];
  for (const name of required) {
    if ((environment[name] ?? "") === "") problems.push({ name, problem: "is not set" });
  }
  if (!parsed.success) {
    for (const issue of parsed.error.issues) {
      problems.push({ name: String(issue.path[0]), problem: issue.message });
    }
  }
  problems.push(...checkFallback(environment, now, problems));
  if (!parsed.success || problems.length > 0) throw invalidConfiguration(problems);

  const values = parsed.data;
  const dev = parseDevMode(values.INNGEST_DEV);
  const fallbackUntil = values.BACKGROUND_JOBS_INLINE_EMERGENCY_FALLBACK_UNTIL;
  return {
    cronSecrets: [values.CRON_SECRET, values.CRON_SECRET_PREVIOUS].filter(
      (secret) => secret !== undefined,
    ),
    useInngest: decideInngest(
      values.BACKGROUND_JOBS_USE_INNGEST,
      values.INNGEST_EVENT_KEY,
      dev.dev,
    ),
    forceInline: values.BACKGROUND_JOBS_FORCE_INLINE ?? false,
    ...defined({
      inlineFallbackUntil:
        values.BACKGROUND_JOBS_INLINE_EMERGENCY_FALLBACK === true ? fallbackUntil : undefined,
      databaseUrl: values.DATABASE_URL,
    }),
    windowSeconds: values.BACKGROUND_JOBS_DISPATCH_WINDOW_SECONDS,
    concurrency: values.BACKGROUND_JOBS_INNGEST_CONCURRENCY,
    environment: values.INNGEST_ENV ?? "production",
    inngest: {
      ...dev,
      ...defined({
        eventKey: values.INNGEST_EVENT_KEY,
        signingKey: values.INNGEST_SIGNING_KEY,
        baseUrl: values.INNGEST_BASE_URL,
        env: values.INNGEST_ENV,
      }),
    },
  };
}

/** The switch needs an expiry, at most a day ahead; one that has passed only means off. */
function checkFallback(
  environment: Environment,
  now: Date,
  known: readonly ConfigProblem[],
): ConfigProblem[] {
  const name = "BACKGROUND_JOBS_INLINE_EMERGENCY_FALLBACK_UNTIL";
  const isOn = /^(true|1)$/u.test(environment["BACKGROUND_JOBS_INLINE_EMERGENCY_FALLBACK"] ?? "");
  if (!isOn || known.some((problem) => problem.name === name)) return [];
  const until = environment[name] ?? "";
  if (until === "") {
    return [{ name, problem: "is required while BACKGROUND_JOBS_INLINE_EMERGENCY_FALLBACK is on" }];
  }
  return new Date(until).getTime() > now.getTime() + maxFallbackMs
    ? [{ name, problem: "must be at most 24 hours ahead" }]
    : [];
}

function decideInngest(
  explicit: boolean | undefined,
  eventKey: string | undefined,
  dev: boolean,
): BackgroundConfig["useInngest"] {
  if (explicit !== undefined) {
    return { enabled: explicit, because: `BACKGROUND_JOBS_USE_INNGEST is ${String(explicit)}` };
  }
  if (eventKey !== undefined) return { enabled: true, because: "INNGEST_EVENT_KEY is set" };
  if (dev) return { enabled: true, because: "INNGEST_DEV is set" };
  return { enabled: false, because: "neither INNGEST_EVENT_KEY nor INNGEST_DEV is set" };
}

/** As the SDK reads it: `1` or `true` for the usual address, a URL for another one, `0` or `false` for off. */
function parseDevMode(value: string | undefined): { dev: boolean; devUrl?: string } {
  if (value === undefined || value === "0" || value === "false") return { dev: false };
  return /^https?:\/\//u.test(value) ? { dev: true, devUrl: value } : { dev: true };
}

function invalidConfiguration(problems: readonly ConfigProblem[]): DispatchError {
  const lines = problems.map(({ name, problem }) => `${name} ${problem}`);
  return new DispatchError("invalid_configuration", `Invalid configuration: ${lines.join("; ")}.`, {
    problems,
  });
}
