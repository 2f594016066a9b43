import { jobTransitions, type Uniqueness } from "@evenkeel/ledger";
import type { z } from "zod";

import { JobError } from "../job-error.ts";
import { maxDelayMs } from "./attempt-error.ts";
import { checkMaxAttempts, exponential, type RetryPolicy } from "./retry-policy.ts";

/** The longest time-out, in milliseconds: 24 hours. */
const maxTimeoutMs = 24 * 60 * 60 * 1_000;

/** Settings of {@link defineJob}. */
export interface JobOptions<Schema extends z.ZodType, Result extends z.ZodType = z.ZodType> {
  /**
   * Its name in the queue: up to 100 letters, digits, `.`, `_`, `-`, beginning with a letter. Queued jobs carry it: a
   * handler of another name never claims them.
   */
  readonly type: string;
  /**
   * The version of the payload's schema: a whole number from 1 to 1,000,000. Raise it when older code could not read a
   * new payload. A build that does not know a job's version yet postpones the job by 15 s.
   */
  readonly version: number;
  /**
   * The schema of what the job needs to know. It is stored as JSON, so the schema must accept its own value after a
   * trip through JSON. It must be synchronous.
   */
  readonly payload: Schema;
  /**
   * How payloads of older versions become newer ones: under n, the pure function that takes version n's JSON to
   * version n + 1's. None by default; a version without one is read as it is. `payload` parses what comes out at the end.
   *
   * @example upcast: { 1: (old) => ({ ...v1.parse(old), currency: "EUR" }) }
   */
  readonly upcast?: Readonly<Record<number, (payload: unknown) => unknown>>;
  /**
   * The schema of what its handler returns; any JSON by default. The handler's type is held against it, and
   * `parseResult` parses stored results with it. No attempt fails because of it.
   */
  readonly result?: Result;
  /**
   * How many attempts a job has and how long it waits in between; {@link exponential} with its defaults by default.
   * `maxAttempts` is stored with a job when it is enqueued, so that a change holds for new jobs only.
   */
  readonly retry?: RetryPolicy;
  /**
   * Whether another attempt could end otherwise, by what the handler threw. After `false` the job is dead at once
   * (`terminal`). By default, and when the function throws, every error is worth another attempt. It is not asked about
   * `TerminalError`, `RetryAfterError` and `SnoozeError`, which say so themselves.
   */
  readonly isRetryable?: (error: unknown) => boolean;
  /**
   * How long one attempt may take, in milliseconds: 1 to 86,400,000, 30,000 by default. Then its signal fires and the
   * attempt has failed. A drain's `deadlineMs` can cut an attempt shorter.
   */
  readonly timeoutMs?: number;
  /**
   * How often in a row its worker may die (killed, out of memory, hung for longer than the lease) before the job counts
   * as the cause and is dead (`poison`): a whole number from 1 to 1,000, 3 by default. An attempt that ends, however it
   * ends, starts the count anew. A crash counts for the jobs that the worker had started. A job that one more crash would
   * make poison runs beside no other such job of its process.
   */
  readonly maxCrashes?: number;
  /**
   * Which of a tenant's due jobs go first: a whole number from -10 to 10, 0 by default. Each level counts as ten minutes
   * of waiting: a job of priority 2 goes before what is due up to 20 minutes longer, and no job waits for ever. It does
   * not change the turns of tenants.
   */
  readonly priority?: number;
  /**
   * Whether each job becomes an Inngest run of its own, one at a time per tenant: for work that is long, or heavy.
   * `false` by default. A drain without `requestRuns` runs such a job itself.
   */
  readonly isolated?: boolean;
  /**
   * The key of a payload, 1 to 400 characters: at most one unsettled job per tenant, type and key. None by default, and
   * `undefined` means that this payload has no such limit. `uniqueness` changes how long a job holds its key.
   */
  readonly uniqueKey?: (payload: z.output<Schema>) => string | undefined;
  /**
   * How long a job holds its unique key; by default while it is unsettled. `states` are those in which it holds the key,
   * and after `periodMs` milliseconds, 1 to 366 days, it holds the key no longer. Without a unique key it has no effect.
   *
   * @example uniqueness: { states: ["PENDING"] } // one may wait while another runs
   * @example uniqueness: { states: ["PENDING", "RUNNING", "SUCCEEDED"], periodMs: 3_600_000 } // once an hour
   */
  readonly uniqueness?: Uniqueness;
}

/** A kind of job, shared by those who enqueue it and those who handle it. */
export interface JobDefinition<
  Schema extends z.ZodType = z.ZodType,
  Result extends z.ZodType = z.ZodType,
> {
  readonly type: string;
  readonly version: number;
  readonly payload: Schema;
  readonly result: Result | undefined;
  readonly upcast: Readonly<Record<number, (payload: unknown) => unknown>>;
  readonly retry: RetryPolicy;
  readonly timeoutMs: number;
  readonly isRetryable: (error: unknown) => boolean;
  readonly maxCrashes: number;
  readonly priority: number;
  readonly isolated: boolean;
  readonly uniqueKey: ((payload: z.output<Schema>) => string | undefined) | undefined;
  readonly uniqueness: Uniqueness | undefined;
}

/**
 * Defines a kind of job.
 *
 * @example
 * const sendReply = defineJob({
 *   type: "reply.send",
 *   version: 1,
 *   payload: z.object({ draftId: z.string() }),
 *   uniqueKey: ({ draftId }) => draftId,
 * });
 * @throws JobError `invalid_definition` when an option is missing or out of range; `data.field` names it.
 */
export function defineJob<Schema extends z.ZodType, Result extends z.ZodType = z.ZodType>(
  options: JobOptions<Schema, Result>,
): JobDefinition<Schema, Result> {
  const { type, version, payload, retry = exponential(), timeoutMs = 30_000, uniqueKey } = options;
  const {
    isRetryable = () => true,
    maxCrashes = 3,
    priority = 0,
    upcast = {},
    isolated = false,
    result,
    uniqueness,
  } = options;
  // Definitions are written without types as well: `undefined` would pass as a name.
  if (typeof type !== "string" || !/^[a-z][\w.-]{0,99}$/iu.test(type)) {
    throw new JobError(
      "invalid_definition",
      `A job type has up to 100 letters, digits, ".", "_" or "-" and begins with a letter; got ${JSON.stringify(type)}.`,
      { field: "type", type },
    );
  }
  if (!Number.isInteger(version) || version < 1 || version > 1_000_000) {
    throw new JobError(
      "invalid_definition",
      `The version of job ${type} must be a whole number from 1; got ${version}.`,
      { field: "version", type, value: version },
    );
  }
  const missing = Object.entries({
    "payload with a zod schema": typeof payload?.safeParse === "function",
    "retry policy with a function delayMs": typeof retry?.delayMs === "function",
    "function isRetryable": typeof isRetryable === "function",
    "function per version in upcast": Object.values(upcast).every((f) => typeof f === "function"),
    "function uniqueKey": uniqueKey === undefined || typeof uniqueKey === "function",
  }).find(([, isThere]) => !isThere);
  if (missing !== undefined) {
    throw new JobError("invalid_definition", `Job ${type} needs a ${missing[0]}.`, { type });
  }
  const foreign = Object.keys(upcast).find(
    (from) => !(Number(from) >= 1 && Number(from) < version),
  );
  if (foreign !== undefined) {
    throw new JobError(
      "invalid_definition",
      `Job ${type} upcasts from version ${foreign}, which is none before its version ${version}.`,
      { field: "upcast", type, value: foreign },
    );
  }
  if (!Number.isFinite(timeoutMs) || timeoutMs < 1 || timeoutMs > maxTimeoutMs) {
    throw new JobError(
      "invalid_definition",
      `The timeoutMs of job ${type} must be 1 to ${maxTimeoutMs}; got ${timeoutMs}.`,
      { field: "timeoutMs", type, value: timeoutMs },
    );
  }
  if (!Number.isInteger(maxCrashes) || maxCrashes < 1 || maxCrashes > 1_000) {
    throw new JobError(
      "invalid_definition",
      `The maxCrashes of job ${type} must be a whole number from 1 to 1000; got ${maxCrashes}.`,
      { field: "maxCrashes", type, value: maxCrashes },
    );
  }
  checkPriority("invalid_definition", type, priority);
  if (uniqueness !== undefined) checkUniqueness("invalid_definition", type, uniqueness);
  checkMaxAttempts(retry.maxAttempts);
  return Object.freeze({
    type,
    version,
    payload,
    result,
    upcast,
    retry,
    timeoutMs,
    isRetryable,
    maxCrashes,
    priority,
    isolated,
    uniqueKey,
    uniqueness,
  });
}

/** @throws JobError with this code unless it is a whole number from -10 to 10. */
export function checkPriority(
  code: "invalid_definition" | "invalid_options",
  type: string,
  priority: number,
): void {
  if (Number.isInteger(priority) && priority >= -10 && priority <= 10) return;
  throw new JobError(
    code,
    `The priority of job ${type} must be a whole number from -10 to 10; got ${priority}.`,
    { field: "priority", type, value: priority },
  );
}

/** @throws JobError with this code unless it has states of jobs and a period of 1 ms to 366 days. */
export function checkUniqueness(
  code: "invalid_definition" | "invalid_options",
  type: string,
  { states, periodMs }: Uniqueness,
): void {
  const problem =
    states?.length === 0
      ? "needs a state"
      : states?.some((state) => !Object.hasOwn(jobTransitions, state)) === true
        ? `takes the states ${Object.keys(jobTransitions).join(", ")}`
        : periodMs !== undefined && !(periodMs >= 1 && periodMs <= maxDelayMs)
          ? `takes a periodMs from 1 to ${maxDelayMs}`
          : undefined;
  if (problem === undefined) return;
  throw new JobError(code, `The uniqueness of job ${type} ${problem}.`, {
    field: "uniqueness",
    type,
  });
}
