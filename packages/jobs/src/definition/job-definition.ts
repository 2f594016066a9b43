import type { z } from "zod";

import { JobError } from "../job-error.ts";
import { checkJsonSchema, type SchemaTraits } from "./json-schema-check.ts";
import { checkMaxAttempts, exponential, type RetryPolicy } from "./retry-policy.ts";
import {
  readUniqueRule,
  type UniqueKey,
  type UniqueOptions,
  type UniqueRule,
} from "./unique-option.ts";

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
   * The schema of what the job needs to know; it must be synchronous. What it lets through is stored as JSON: without
   * unknown keys, and with defaults filled in. A part with a transform is stored as it was before it, and the handler's
   * parse transforms it. What would not come back from JSON (`z.date()`, `z.map()`, a class) is refused.
   */
  readonly payload: Schema;
  /**
   * How payloads of older versions become newer ones: under n, the pure function that takes version n's JSON to
   * version n + 1's. None by default; a version without one is read as it is. `payload` parses what comes out at the end.
   * {@link upcaster} types one by the schemas of its two versions.
   *
   * @example upcast: { 1: upcaster({ from: v1, to: v2 }, (old) => ({ ...old, currency: "EUR" })) }
   */
  readonly upcast?: Readonly<Record<number, (payload: unknown) => unknown>>;
  /**
   * The schema of what its handler returns; any JSON by default. The handler's type is held against it, what it lets
   * through is kept as of a payload, and `parseResult` parses that. No attempt fails because of it: a result that it
   * refuses is not kept, and logged as `job.result_dropped`.
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
   * At most one waiting job per tenant, type and key: a key, a function that makes it of the payload as the handler gets
   * it, or an object with `key` and what else holds it (`states`, `periodMs`) or becomes of the waiting job
   * (`onConflict`, `debounce`). None by default. What `enqueue` is given goes before it, field by field.
   *
   * @example unique: ({ draftId }) => draftId // one may wait while another runs
   * @example unique: { key: ({ draftId }) => draftId, states: ["RUNNING"] } // one in all, which may miss a change
   * @example unique: { key: "digest", periodMs: 3_600_000 } // once an hour, unless it failed
   * @example unique: { key: ({ docId }) => docId, debounce: { delayMs: 5_000, maxMs: 60_000 } } // when edits end
   */
  readonly unique?: UniqueKey<z.output<Schema>> | UniqueOptions<z.output<Schema>>;
}

/**
 * A kind of job, shared by those who enqueue it and those who handle it. Without type arguments it takes every
 * definition, as a registry of them does: {@link AnyJobDefinition}.
 */
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
  readonly unique: UniqueRule<z.output<Schema>> | undefined;
}

/**
 * Any definition, whatever its payload and its result.
 *
 * @example const registry: readonly AnyJobDefinition[] = [sendReply, bookInvoice];
 */
export type AnyJobDefinition = JobDefinition;

/** What is known of the schemas of definitions. By schema, so that a copy of a definition has it too. */
const traitsOfSchemas = new WeakMap<z.ZodType, SchemaTraits>();

/** What a schema of a definition does to what it parses. Read by `defineJob`; of a definition made by hand, now. */
export function traitsOf(schema: z.ZodType, type: string, root: string): SchemaTraits {
  const known = traitsOfSchemas.get(schema);
  if (known !== undefined) return known;
  const traits = checkJsonSchema(schema, type, root);
  traitsOfSchemas.set(schema, traits);
  return traits;
}

/**
 * Defines a kind of job.
 *
 * @example
 * const sendReply = defineJob({
 *   type: "reply.send",
 *   version: 1,
 *   payload: z.object({ draftId: z.string() }),
 *   unique: ({ draftId }) => draftId,
 * });
 * @throws JobError `invalid_definition` when an option is missing or out of range; `data.field` names it.
 */
export function defineJob<Schema extends z.ZodType, Result extends z.ZodType = z.ZodType>(
  options: JobOptions<Schema, Result>,
): JobDefinition<Schema, Result> {
  const { type, version, payload, retry = exponential(), timeoutMs = 30_000 } = options;
  const {
    isRetryable = () => true,
    maxCrashes = 3,
    priority = 0,
    upcast = {},
    isolated = false,
    result,
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
    "result that is a zod schema": result === undefined || typeof result?.safeParse === "function",
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
  const unique = readUniqueRule(type, options.unique);
  traitsOf(payload, type, "payload");
  if (result !== undefined) traitsOf(result, type, "result");
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
    unique,
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
