import { defined } from "@evenkeel/core";
import { z } from "zod";

import { DispatchError } from "./dispatch-error.ts";
import {
  address,
  devMode,
  findPadded,
  flag,
  hostChoice,
  instant,
  oneOf,
  readVariable,
  secret,
  text,
  wholeNumber,
  type ConfigProblem,
  type Environment,
} from "./variables.ts";

/** The longest time that an inline switch may be set ahead, in milliseconds: 24 hours. */
const maxInlineMs = 24 * 60 * 60 * 1000;

/** The shortest secret that authenticates ticks or readers, in characters: 16, as Vercel advises for its own. */
const minSecretLength = 16;

/** The configuration of a host, parsed once per process. */
export interface BackgroundConfig {
  /** Secrets that authenticate cron requests, the current one first; empty closes the endpoint. */
  readonly cronSecrets: readonly string[];
  /** Secrets that authenticate readers of receipts, the current one first; empty closes that endpoint. */
  readonly receiptsSecrets: readonly string[];
  readonly useInngest: {
    readonly enabled: boolean;
    /** Why, in words for an operator. */
    readonly because: string;
  };
  /** Until when work runs inline and nothing is sent: the operator's rollback. Absent: never. Judged at each tick. */
  readonly forceInlineUntil?: Date;
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
  /**
   * Whether hosts serve functions to Inngest, or the name of the one host that does:
   * `BACKGROUND_JOBS_SERVE_FUNCTIONS`, or `true`. Of the hosts of one app, one address may serve.
   */
  readonly serveFunctions: boolean | string;
  /** Where Postgres is. */
  readonly databaseUrl?: string;
  /** Whether the host brings the database to its build's schema: `start`, which is the default, `only` and then ends. */
  readonly migrate: (typeof migrateModes)[number];
  /** Names of variables that were set with whitespace around them, which was taken off. */
  readonly trimmed: readonly string[];
  readonly inngest: {
    readonly eventKey?: string;
    readonly signingKey?: string;
    /** The key that Inngest's calls may still be signed with while the signing key rotates. */
    readonly signingKeyFallback?: string;
    readonly baseUrl?: string;
    /** Whether the SDK talks to a development server, and its address if one is given. */
    readonly dev: boolean;
    readonly devUrl?: string;
    readonly env?: string;
    /** Where Inngest reaches this host, where that is not what its requests show. */
    readonly serveOrigin?: string;
  };
}

/** What `MIGRATE` may say. */
const migrateModes = ["off", "start", "only"] as const;

const variables = z.object({
  CRON_SECRET: secret(minSecretLength),
  CRON_SECRET_PREVIOUS: secret(minSecretLength),
  RECEIPTS_SECRET: secret(minSecretLength),
  RECEIPTS_SECRET_PREVIOUS: secret(minSecretLength),
  BACKGROUND_JOBS_USE_INNGEST: flag,
  BACKGROUND_JOBS_FORCE_INLINE: flag,
  BACKGROUND_JOBS_FORCE_INLINE_UNTIL: instant,
  BACKGROUND_JOBS_INLINE_EMERGENCY_FALLBACK: flag,
  BACKGROUND_JOBS_INLINE_EMERGENCY_FALLBACK_UNTIL: instant,
  BACKGROUND_JOBS_DISPATCH_WINDOW_SECONDS: wholeNumber(15, 3600),
  BACKGROUND_JOBS_INNGEST_CONCURRENCY: wholeNumber(1, 64),
  BACKGROUND_JOBS_SERVE_FUNCTIONS: hostChoice,
  INNGEST_EVENT_KEY: secret(),
  INNGEST_SIGNING_KEY: secret(),
  INNGEST_SIGNING_KEY_FALLBACK: secret(),
  INNGEST_BASE_URL: address(/^https?$/u, "must be an http or https URL"),
  INNGEST_DEV: devMode,
  INNGEST_ENV: text,
  MIGRATE: oneOf(migrateModes),
  INNGEST_SERVE_ORIGIN: address(/^https?$/u, "must be an http or https URL"),
  INNGEST_SERVE_HOST: address(/^https?$/u, "must be an http or https URL"),
  DATABASE_URL: address(
    /^postgres(ql)?$/u,
    "must be of the form postgresql://user:password@host:5432/database",
  ),
});

const names = Object.keys(variables.shape);

/** The switches that bring work into requests: each is on only until the time in a variable of its own. */
const inlineSwitches = [
  "BACKGROUND_JOBS_FORCE_INLINE",
  "BACKGROUND_JOBS_INLINE_EMERGENCY_FALLBACK",
] as const;

/** What a host says about its configuration. */
export interface ConfigOptions {
  /** The time that the inline switches' ends are judged by: they are at most 24 hours later. */
  readonly now: Date;
  /** Names of variables that must be set on this host; none by default. */
  readonly required?: readonly string[];
  /**
   * Whether this host serves functions to Inngest; defaults to `false`. If so, `INNGEST_SIGNING_KEY` must be set
   * outside the development mode, unless `BACKGROUND_JOBS_USE_INNGEST` is off, or `BACKGROUND_JOBS_SERVE_FUNCTIONS`
   * leaves them to another host: without it every call is refused.
   */
  readonly servesFunctions?: boolean;
  /** The host's name, which `BACKGROUND_JOBS_SERVE_FUNCTIONS` may be: `web`, `worker`. None by default. */
  readonly hostName?: string;
  /** Problems with the host's own variables, to be reported together with the others; none by default. */
  readonly hostProblems?: readonly ConfigProblem[];
  /** Names of the host's own variables, for `trimmed`; none by default. */
  readonly hostVariables?: readonly string[];
}

/**
 * Parses the variables that the repository's README lists. Whitespace around a value is taken off, and an empty
 * variable counts as unset. Switches are read in any of their usual spellings.
 *
 * @throws DispatchError `invalid_configuration` with every problem at once in `problems`, by variable name
 * and never by value.
 */
export function parseBackgroundConfig(
  environment: Environment,
  options: ConfigOptions,
): BackgroundConfig {
  const { now, required = [], servesFunctions: mayServe = false } = options;
  const { hostProblems = [], hostVariables = [] } = options;
  // Read once: what is told of whitespace is about the values that were taken.
  const raw = Object.fromEntries(
    [...names, ...hostVariables].map((name) => [name, environment[name]]),
  );
  const given = Object.fromEntries(names.map((name) => [name, readVariable(raw, name)]));
  const parsed = variables.safeParse(given);
  const problems: ConfigProblem[] = [...hostProblems];
  for (const name of required) {
    if (readVariable(environment, name) === undefined) {
      problems.push({ name, problem: "is not set" });
    }
  }
  if (!parsed.success) {
    for (const issue of parsed.error.issues) {
      problems.push({ name: String(issue.path[0]), problem: issue.message });
    }
  }
  problems.push(
    ...inlineSwitches.flatMap((name) => checkExpiry(given, name, now)),
    ...checkReceiptsSecrets(given),
    ...(mayServe && isServing(given, options.hostName) ? checkSigningKey(given) : []),
  );
  if (!parsed.success || problems.length > 0) throw invalidConfiguration(problems);

  const values = parsed.data;
  const dev = values.INNGEST_DEV ?? { dev: false };
  return {
    cronSecrets: present(values.CRON_SECRET, values.CRON_SECRET_PREVIOUS),
    receiptsSecrets: present(values.RECEIPTS_SECRET, values.RECEIPTS_SECRET_PREVIOUS),
    useInngest: decideInngest(
      values.BACKGROUND_JOBS_USE_INNGEST,
      values.INNGEST_EVENT_KEY,
      dev.dev,
    ),
    ...defined({
      forceInlineUntil:
        values.BACKGROUND_JOBS_FORCE_INLINE === true
          ? values.BACKGROUND_JOBS_FORCE_INLINE_UNTIL
          : undefined,
      inlineFallbackUntil:
        values.BACKGROUND_JOBS_INLINE_EMERGENCY_FALLBACK === true
          ? values.BACKGROUND_JOBS_INLINE_EMERGENCY_FALLBACK_UNTIL
          : undefined,
      databaseUrl: values.DATABASE_URL,
    }),
    windowSeconds: values.BACKGROUND_JOBS_DISPATCH_WINDOW_SECONDS ?? 60,
    concurrency: values.BACKGROUND_JOBS_INNGEST_CONCURRENCY ?? 4,
    environment: values.INNGEST_ENV ?? "production",
    migrate: values.MIGRATE ?? "start",
    serveFunctions: values.BACKGROUND_JOBS_SERVE_FUNCTIONS ?? true,
    trimmed: findPadded(raw),
    inngest: {
      ...dev,
      ...defined({
        eventKey: values.INNGEST_EVENT_KEY,
        signingKey: values.INNGEST_SIGNING_KEY,
        signingKeyFallback: values.INNGEST_SIGNING_KEY_FALLBACK,
        baseUrl: values.INNGEST_BASE_URL,
        env: values.INNGEST_ENV,
        serveOrigin: values.INNGEST_SERVE_ORIGIN ?? values.INNGEST_SERVE_HOST,
      }),
    },
  };
}

/** Those of a secret and its predecessor that are set. */
function present(...secrets: readonly (string | undefined)[]): string[] {
  return secrets.filter((each) => each !== undefined);
}

/** A switch needs an end, at most a day ahead; one that has passed only means off. */
function checkExpiry(given: Environment, name: string, now: Date): ConfigProblem[] {
  const end = `${name}_UNTIL`;
  const until = instant.safeParse(given[end]);
  if (flag.safeParse(given[name]).data !== true || !until.success) return [];
  if (until.data === undefined) return [{ name: end, problem: `is required while ${name} is on` }];
  return until.data.getTime() > now.getTime() + maxInlineMs
    ? [{ name: end, problem: "must be at most 24 hours ahead" }]
    : [];
}

/** Who may ask for ticks must not read what became of every tenant's. */
function checkReceiptsSecrets(given: Environment): ConfigProblem[] {
  const schedulers = new Set([given["CRON_SECRET"], given["CRON_SECRET_PREVIOUS"]]);
  return ["RECEIPTS_SECRET", "RECEIPTS_SECRET_PREVIOUS"]
    .filter((name) => given[name] !== undefined && schedulers.has(given[name]))
    .map((name) => ({ name, problem: "must differ from CRON_SECRET and CRON_SECRET_PREVIOUS" }));
}

/**
 * Whether a host with this name serves functions to Inngest: where all hosts do, or where it is the one that is named.
 */
export function servesFunctions(
  { serveFunctions }: Pick<BackgroundConfig, "serveFunctions">,
  hostName: string | undefined,
): boolean {
  return typeof serveFunctions === "boolean" ? serveFunctions : serveFunctions === hostName;
}

function isServing(given: Environment, hostName: string | undefined): boolean {
  const { data = true } = hostChoice.safeParse(given["BACKGROUND_JOBS_SERVE_FUNCTIONS"]);
  return servesFunctions({ serveFunctions: data }, hostName);
}

function checkSigningKey(given: Environment): ConfigProblem[] {
  const dev = devMode.safeParse(given["INNGEST_DEV"]);
  const isOff = flag.safeParse(given["BACKGROUND_JOBS_USE_INNGEST"]).data === false;
  if (given["INNGEST_SIGNING_KEY"] !== undefined || dev.data?.dev === true || isOff) return [];
  const problem =
    "is not set, and without it every call from Inngest is refused (outside INNGEST_DEV)";
  return [{ name: "INNGEST_SIGNING_KEY", problem }];
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

/** What a tick does on a host as it is configured, and why. */
export interface EffectiveMode {
  readonly mode: "dispatch-only" | "inline-forced" | "inline-emergency-fallback" | "not-configured";
  /** Why, in words for an operator. */
  readonly because: string;
}

/** Returns the mode of a configuration's ticks at a time; the README's table of modes says what each means. */
export function decideMode(
  config: Pick<BackgroundConfig, "useInngest" | "forceInlineUntil" | "inlineFallbackUntil">,
  now: Date,
): EffectiveMode {
  const { useInngest, forceInlineUntil, inlineFallbackUntil } = config;
  if (isBefore(now, forceInlineUntil)) {
    const because = `BACKGROUND_JOBS_FORCE_INLINE is on until ${forceInlineUntil.toISOString()}`;
    return { mode: "inline-forced", because };
  }
  const { because } = useInngest;
  if (useInngest.enabled) return { mode: "dispatch-only", because };
  return isBefore(now, inlineFallbackUntil)
    ? { mode: "inline-emergency-fallback", because }
    : { mode: "not-configured", because };
}

/** Whether a switch with this end is on. */
export function isBefore(now: Date, until: Date | undefined): until is Date {
  return until !== undefined && now.getTime() < until.getTime();
}

function invalidConfiguration(problems: readonly ConfigProblem[]): DispatchError {
  const lines = problems.map(({ name, problem }) => `${name} ${problem}`);
  return new DispatchError("invalid_configuration", `Invalid configuration: ${lines.join("; ")}.`, {
    problems,
  });
}
