import { checkExpression, optionalKey, readDuration, refuse } from "./function-checks.ts";
import type { FunctionConfig, RateLimit } from "./function-config.ts";
import type { FunctionInput } from "./function-schema.ts";

const dayMs = 86_400_000;

/** Reads the concurrency limits of requests and of runs. */
export function readConcurrency(
  input: FunctionInput,
): Pick<FunctionConfig, "concurrency" | "runConcurrency"> {
  const step: NonNullable<FunctionInput["concurrency"]>["step"] = input.concurrency?.step ?? [];
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

/** Reads what limits, groups and orders the starts of a function. */
export function readFlowControl(
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
