import { z } from "zod";
import { compileExpression } from "../expression/expression.ts";
import { deterministicUuid } from "../identity.ts";
import type { JsonObject } from "../json.ts";
import { parseDurationMs } from "../time/duration.ts";
import { checkCron } from "./cron-expression.ts";

const concurrencyLimit = z.object({
  limit: z.number(),
  key: z.string().nullish(),
  scope: z.enum(["fn", "env", "account"]).nullish(),
});
const concurrencySchema = z.union([
  z.number().transform((limit) => ({ step: [{ limit }], fn: [] })),
  z.array(concurrencyLimit).transform((step) => ({ step, fn: [] })),
  concurrencyLimit.transform((limit) => ({ step: [limit], fn: [] })),
  z.object({
    fn: z.array(z.object({ limit: z.number(), key: z.string().nullish() })).default([]),
    step: z.array(concurrencyLimit).default([]),
  }),
]);

const functionSchema = z.object({
  id: z.string().default(""),
  name: z.string().default(""),
  triggers: z
    .array(
      z.union([
        z.object({ cron: z.string(), jitter: z.string().nullish() }),
        z.object({ event: z.string(), expression: z.string().nullish() }),
      ]),
    )
    .nullish(),
  steps: z.record(
    z.string(),
    z.object({
      id: z.string(),
      runtime: z.object({ url: z.string() }),
      retries: z.object({ attempts: z.number() }).nullish(),
    }),
  ),
  retries: z.number().nullish(),
  concurrency: concurrencySchema.nullish(),
  priority: z.object({ run: z.string().nullish() }).nullish(),
  batchEvents: z
    .object({
      maxSize: z.number(),
      timeout: z.string(),
      key: z.string().nullish(),
      if: z.string().nullish(),
    })
    .nullish(),
  idempotency: z.string().nullish(),
  rateLimit: z
    .object({ limit: z.number(), period: z.string(), key: z.string().nullish() })
    .nullish(),
  throttle: z
    .object({
      limit: z.number().default(1),
      period: z.string(),
      burst: z.number().default(0),
      key: z.string().nullish(),
    })
    .nullish(),
  debounce: z
    .object({ period: z.string(), key: z.string().nullish(), timeout: z.string().nullish() })
    .nullish(),
  timeouts: z.object({ start: z.string().nullish(), finish: z.string().nullish() }).nullish(),
  cancel: z
    .array(z.object({ event: z.string(), timeout: z.string().nullish(), if: z.string().nullish() }))
    .nullish(),
  singleton: z
    .object({ key: z.string().nullish(), mode: z.enum(["skip", "cancel"]).default("skip") })
    .nullish(),
});

type FunctionInput = z.output<typeof functionSchema>;

/** A limit of runs over a time, per key. */
export interface RateLimit {
  readonly limit: number;
  readonly periodMs: number;
  /** Runs let through at once beyond the steady pace. */
  readonly burst: number;
  readonly key?: string;
}

/** How many requests of a function may be under way at once. */
export interface ConcurrencyLimit {
  readonly limit: number;
  readonly scope: "fn" | "env" | "account";
  readonly key?: string;
}

/** What starts a function. */
export type Trigger =
  | { readonly kind: "event"; readonly event: string; readonly expression?: string }
  | { readonly kind: "cron"; readonly cron: string; readonly jitterMs: number };

/** A function as an app registered it: checked, with durations in milliseconds. */
export interface FunctionConfig {
  /** The server's id, a UUID that depends on app and slug alone. */
  readonly id: string;
  /** The full id, `<app>-<function>`. */
  readonly slug: string;
  readonly name: string;
  readonly appName: string;
  /** Where the app takes call requests for it. */
  readonly url: string;
  /** Tries per step: one more than the retries. */
  readonly maxAttempts: number;
  readonly triggers: readonly Trigger[];
  readonly concurrency: readonly ConcurrencyLimit[];
  /** Runs under way at once, from start to finish. */
  readonly runConcurrency: readonly { readonly limit: number; readonly key?: string }[];
  readonly priority?: string;
  readonly idempotency?: string;
  readonly rateLimit?: RateLimit;
  readonly throttle?: RateLimit;
  readonly debounce?: {
    readonly periodMs: number;
    readonly timeoutMs?: number;
    readonly key?: string;
  };
  readonly batch?: {
    readonly maxSize: number;
    readonly timeoutMs: number;
    readonly key?: string;
    readonly condition?: string;
  };
  readonly startTimeoutMs?: number;
  readonly finishTimeoutMs?: number;
  readonly cancelOn: readonly {
    readonly event: string;
    readonly timeout?: string;
    readonly condition?: string;
  }[];
  readonly singleton?: { readonly mode: "skip" | "cancel"; readonly key?: string };
  /** What the app sent, as the `/dev` page shows it. */
  readonly source: JsonObject;
}

/** A function that an app registered and the server refuses. */
export class FunctionRefusedError extends Error {
  override readonly name = "FunctionRefusedError";
}

/** Retries where a function names none. */
const defaultRetries = 4;
const maxRetries = 20;
const dayMs = 86_400_000;

/**
 * Reads one function of a registration.
 *
 * @throws FunctionRefusedError with the first reason why the real server refuses it.
 */
export function parseFunction(source: JsonObject, appName: string): FunctionConfig {
  const parsed = functionSchema.safeParse(source);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    refuse(`${issue?.path.join(".") ?? ""}: ${issue?.message ?? "invalid"}`);
  }
  const input = parsed.data;
  const steps = Object.values(input.steps);
  const step = steps[0];
  if (step === undefined || steps.length !== 1) refuse("Functions must contain one step");
  if (input.name === "") refuse("A function name is required");
  if (!/^https?:$/.test(URL.canParse(step.runtime.url) ? new URL(step.runtime.url).protocol : "")) {
    refuse(`Non-supported step schema: ${step.runtime.url}`);
  }
  const slug = input.id === "" ? input.name.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-") : input.id;
  const retries = Math.min(step.retries?.attempts ?? input.retries ?? defaultRetries, maxRetries);
  return {
    id: deterministicUuid(`${appName}\n${slug}`),
    slug,
    name: input.name,
    appName,
    url: step.runtime.url,
    maxAttempts: retries + 1,
    triggers: readTriggers(input),
    ...readConcurrency(input),
    ...readFlowControl(input),
    ...readTimes(input),
    cancelOn: readCancellations(input),
    source,
  };
}

function refuse(reason: string): never {
  throw new FunctionRefusedError(reason);
}

function checkExpression(expression: string | null | undefined, what: string): string | undefined {
  if (expression === null || expression === undefined || expression === "") return undefined;
  try {
    compileExpression(expression);
  } catch {
    refuse(`${what} is invalid: ${expression}`);
  }
  return expression;
}

function optionalKey(key: string | undefined): { key?: string } {
  return key === undefined ? {} : { key };
}

function readDuration(text: string, what: string): number {
  return parseDurationMs(text) ?? refuse(`${what} of '${text}' is invalid`);
}

function readTriggers(input: FunctionInput): Trigger[] {
  const triggers = input.triggers ?? [];
  if (triggers.length > 10) refuse("This function exceeds the max number of triggers: 10");
  const seen = new Set<string>();
  return triggers.map((trigger): Trigger => {
    const key = JSON.stringify(trigger);
    if (seen.has(key)) refuse(`duplicate trigger ${key}`);
    seen.add(key);
    if ("cron" in trigger) {
      if (!checkCron(trigger.cron)) refuse(`'${trigger.cron}' isn't a valid cron schedule`);
      const jitterMs = trigger.jitter ? readDuration(trigger.jitter, "The jitter") : 0;
      return { kind: "cron", cron: trigger.cron, jitterMs };
    }
    if (trigger.event === "") refuse("An event trigger must specify an event name");
    const expression = checkExpression(
      trigger.expression,
      `trigger expression on '${trigger.event}'`,
    );
    return { kind: "event", event: trigger.event, ...(expression ? { expression } : {}) };
  });
}

function readConcurrency(
  input: FunctionInput,
): Pick<FunctionConfig, "concurrency" | "runConcurrency"> {
  const step: z.output<typeof concurrencyLimit>[] = input.concurrency?.step ?? [];
  if (step.length > 2) {
    refuse("There are more concurrency limits specified than the allowed max of: 2");
  }
  return {
    concurrency: step.map((limit) => {
      const key = checkExpression(limit.key, "concurrency key");
      const scope = limit.scope ?? "fn";
      if (scope !== "fn" && key === undefined) {
        refuse(`A concurrency key must be specified for ${scope} scoped limits`);
      }
      return { limit: limit.limit, scope, ...optionalKey(key) };
    }),
    runConcurrency: (input.concurrency?.fn ?? []).map((limit) => ({
      limit: limit.limit,
      ...optionalKey(checkExpression(limit.key, "function concurrency key")),
    })),
  };
}

function readRateLimit(input: FunctionInput): RateLimit | undefined {
  const rateLimit = input.rateLimit;
  if (!rateLimit) return undefined;
  if (rateLimit.limit <= 0) refuse("limit must be greater than 0");
  const periodMs = readDuration(rateLimit.period, "The rate limit period");
  if (periodMs > dayMs) refuse("period must be less than 24h0m0s");
  const key = checkExpression(rateLimit.key, "rate limit key");
  return {
    limit: rateLimit.limit,
    periodMs,
    burst: Math.floor(rateLimit.limit / 10),
    ...optionalKey(key),
  };
}

function readFlowControl(
  input: FunctionInput,
): Pick<FunctionConfig, "rateLimit" | "throttle" | "debounce" | "batch" | "singleton"> &
  Pick<FunctionConfig, "priority" | "idempotency"> {
  const { batchEvents, debounce, singleton, throttle } = input;
  if (batchEvents) checkBatchCombination(input);
  const rateLimit = readRateLimit(input);
  const priority = checkExpression(input.priority?.run, "Priority.Run expression");
  const idempotency = checkExpression(input.idempotency, "idempotency key");
  return {
    ...(rateLimit ? { rateLimit } : {}),
    ...(priority ? { priority } : {}),
    ...(idempotency ? { idempotency } : {}),
    ...(throttle
      ? {
          throttle: {
            limit: throttle.limit || 1,
            // A throttle's whole limit may start at once, and its burst too.
            burst: (throttle.limit || 1) - 1 + throttle.burst,
            periodMs: readDuration(throttle.period, "The throttle period"),
            ...optionalKey(checkExpression(throttle.key, "throttle key")),
          },
        }
      : {}),
    ...(debounce ? { debounce: readDebounce(debounce) } : {}),
    ...(batchEvents ? { batch: readBatch(batchEvents) } : {}),
    ...(singleton
      ? {
          singleton: {
            mode: singleton.mode,
            ...optionalKey(checkExpression(singleton.key, "singleton key")),
          },
        }
      : {}),
  };
}

function checkBatchCombination(input: FunctionInput): void {
  if (input.cancel && input.cancel.length > 0) {
    refuse("Batching and cancellation are mutually exclusive");
  }
  if (input.debounce) refuse("Batching and debouncing are mutually exclusive");
  if (input.singleton) refuse("Batching and singletons are mutually exclusive");
  if (input.priority?.run) {
    refuse("A function cannot specify Priority.Run and Batch together");
  }
}

function readDebounce(
  debounce: NonNullable<FunctionInput["debounce"]>,
): NonNullable<FunctionConfig["debounce"]> {
  const periodMs = readDuration(debounce.period, "The debounce period");
  if (periodMs < 1_000) {
    refuse(`The debounce period of '${debounce.period}' is less than the min of: 1s`);
  }
  if (periodMs > 7 * dayMs) {
    refuse(`The debounce period of '${debounce.period}' is greater than the max of: 168h0m0s`);
  }
  return {
    periodMs,
    ...(debounce.timeout
      ? { timeoutMs: readDuration(debounce.timeout, "The debounce timeout") }
      : {}),
    ...optionalKey(checkExpression(debounce.key, "Debounce expression")),
  };
}

function readBatch(
  batch: NonNullable<FunctionInput["batchEvents"]>,
): NonNullable<FunctionConfig["batch"]> {
  if (batch.maxSize < 2) refuse(`batch size cannot be smaller than 2: ${batch.maxSize}`);
  const timeoutMs = readDuration(batch.timeout, "The batch timeout");
  if (timeoutMs < 1_000) refuse("batch timeout should be more than 1s");
  const condition = checkExpression(batch.if, "conditional batch expression");
  return {
    maxSize: batch.maxSize,
    timeoutMs,
    ...optionalKey(checkExpression(batch.key, "batch key expression")),
    ...(condition ? { condition } : {}),
  };
}

function readTimes(
  input: FunctionInput,
): Pick<FunctionConfig, "startTimeoutMs" | "finishTimeoutMs"> {
  const startTimeoutMs = input.timeouts?.start ? parseDurationMs(input.timeouts.start) : undefined;
  const finishTimeoutMs = input.timeouts?.finish
    ? parseDurationMs(input.timeouts.finish)
    : undefined;
  return {
    ...(startTimeoutMs ? { startTimeoutMs } : {}),
    ...(finishTimeoutMs ? { finishTimeoutMs } : {}),
  };
}

function readCancellations(input: FunctionInput): FunctionConfig["cancelOn"] {
  const cancellations = input.cancel ?? [];
  if (cancellations.length > 5) {
    refuse("This function exceeds the max number of cancellation events: 5");
  }
  return cancellations.map((cancellation) => {
    const condition = checkExpression(cancellation.if, "Cancellation expression");
    return {
      event: cancellation.event,
      ...(cancellation.timeout ? { timeout: cancellation.timeout } : {}),
      ...(condition ? { condition } : {}),
    };
  });
}
