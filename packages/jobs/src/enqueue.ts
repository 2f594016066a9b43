import { defined, describeIssues, encodePayload, InputError, parseTenantId } from "@evenkeel/core";
import {
  insertJobs,
  isStorableJson,
  isTransactionClient,
  toSqlClient,
  type InsertedJob,
  type NewJob,
  type TransactionClient,
} from "@evenkeel/ledger";
import type { z } from "zod";

import { maxDelayMs } from "./definition/attempt-error.ts";
import { checkPriority, traitsOf, type JobDefinition } from "./definition/job-definition.ts";
import { readStoredForm } from "./definition/stored-form.ts";
import { resolveUnique, type JobUniqueOptions } from "./definition/unique-option.ts";
import { JobError } from "./job-error.ts";

/** One job to be enqueued. */
export interface EnqueueInput<Schema extends z.ZodType = z.ZodType> {
  /** Whose job it is, 1 to 200 characters. Tenants with due work take turns. */
  readonly tenantId: string;
  /**
   * What the handler needs, at most 512 KiB of JSON. The definition's schema must accept it, and only what the schema
   * lets through is stored.
   */
  readonly payload: z.input<Schema>;
  /** When it is due, in the years 1 to 9999; at once by default, and when it is in the past. Not beside `delayMs`. */
  readonly runAt?: Date;
  /**
   * In how many milliseconds it is due, by the database's clock: 0 to 366 days, 0 by default. Not beside `runAt`.
   */
  readonly delayMs?: number;
  /** Which of the tenant's due jobs go first, a whole number from -10 to 10; the definition's own by default. */
  readonly priority?: number;
  /**
   * At most one waiting job per tenant, type and key: a key of 1 to 400 characters, or an object with `key`, `states`,
   * `periodMs`, `onConflict` and `debounce`. The definition's by default, field by field. Without a key it has no effect.
   */
  readonly unique?: string | JobUniqueOptions;
  /** Passed on to the handler to follow work that belongs together, 1 to 200 characters; none by default. */
  readonly correlationId?: string;
}

/** The most that one call may carry, in characters of JSON: 64 Mi. */
const maxBatchLength = 64 * 1024 * 1024;

/**
 * Enqueues a job inside the caller's transaction: it exists if and when that transaction commits.
 *
 * @param tx The client of the transaction: Prisma's `tx`, a `pg` client; or a pool, which commits at once. Not a ledger:
 * it has no transaction.
 * @returns The job's id; `created: false` with the id of the job that holds the unique key. A job that waits under the
 * key is claimed by nobody until the transaction ends, so that it sees what the transaction changed; `replaced: true`
 * where it was given this input.
 * @throws InputError `invalid_tenant`, `invalid_payload` or `payload_too_large`, JobError `invalid_options`;
 * nothing is written then. Database errors pass through, and the transaction is then to be rolled back.
 */
export async function enqueue<Schema extends z.ZodType>(
  tx: TransactionClient,
  definition: JobDefinition<Schema>,
  input: EnqueueInput<Schema>,
): Promise<InsertedJob> {
  const [job] = await enqueueMany(tx, definition, [input]);
  if (job === undefined) throw new Error("An insert of one job returned none.");
  return job;
}

/**
 * Enqueues jobs of one kind inside the caller's transaction, in one statement, all or none. Two inputs with one unique
 * key make one job: the first, or the last with `onConflict: "replace"`.
 *
 * @param tx As for {@link enqueue}.
 * @param inputs Up to 64 Mi characters of payloads in all.
 * @returns One entry per input, in the order given, as `enqueue` returns.
 * @throws As `enqueue` does, and InputError `payload_too_large` for all of them together.
 */
export async function enqueueMany<Schema extends z.ZodType>(
  tx: TransactionClient,
  definition: JobDefinition<Schema>,
  inputs: readonly EnqueueInput<Schema>[],
): Promise<InsertedJob[]> {
  checkClient("enqueue", tx);
  checkDefinition(definition);
  const jobs = inputs.map((input) => prepareJob(definition, input));
  const length = jobs.reduce((sum, job) => sum + job.payloadText.length, 0);
  if (length > maxBatchLength) {
    throw new InputError(
      "payload_too_large",
      `${jobs.length} jobs ${definition.type} carry ${length} characters of payload; one call takes ${maxBatchLength}. Enqueue them in parts.`,
      { type: definition.type, length, limit: maxBatchLength },
    );
  }
  return insertJobs(toSqlClient(tx), jobs);
}

/** Checks an input against its definition. Nothing is written when any of a batch is refused. */
function prepareJob<Schema extends z.ZodType>(
  definition: JobDefinition<Schema>,
  input: EnqueueInput<Schema>,
): NewJob {
  const { type, version } = definition;
  const tenantId = checkTenantId(input.tenantId);
  const { text, payload } = encodeChecked(definition, input.payload);
  const unique = resolveUnique(type, definition.unique, input.unique, payload);
  checkText(type, "correlationId", input.correlationId, 200);
  checkDueTime(type, input, unique?.delayMs);
  const priority = input.priority ?? definition.priority;
  checkPriority("invalid_options", type, priority);
  return {
    tenantId,
    type,
    version,
    payloadText: text,
    priority,
    maxAttempts: definition.retry.maxAttempts,
    maxCrashes: definition.maxCrashes,
    ...defined({
      runAt: input.runAt,
      delayMs: input.delayMs,
      ...unique,
      correlationId: input.correlationId,
    }),
  };
}

function checkTenantId(value: unknown): string {
  const tenantId = parseTenantId(value);
  if (tenantId.isWellFormed()) return tenantId;
  throw new InputError("invalid_tenant", "A tenant id must be well-formed Unicode text.", {});
}

/** The payload as it is stored, and as the handler will see it. It goes through JSON first: a Date becomes a text. */
function encodeChecked<Schema extends z.ZodType>(
  { type, payload: schema }: JobDefinition<Schema>,
  value: unknown,
): { readonly text: string; readonly payload: z.output<Schema> } {
  const json: unknown = JSON.parse(encodePayload(value, `job ${type}`));
  const form = readStoredForm(schema, traitsOf(schema, type, "payload"), json);
  if (!form.ok) throw refusePayload(type, form.error);
  const text = encodePayload(form.stored, `job ${type}`);
  if (isStorableJson(text)) return { text, payload: form.value };
  throw new InputError(
    "invalid_payload",
    `The payload of job ${type} holds a NUL character or half of a surrogate pair, which Postgres cannot store. Clean the text first.`,
    { type },
  );
}

function refusePayload(type: string, error: z.ZodError | undefined): InputError {
  if (error === undefined) {
    return new InputError(
      "invalid_payload",
      `The schema of job ${type} changes this payload again when it parses what it made of it, so that the handler would get something else. Let z.preprocess() and .overwrite() leave alone what they have made, or use .transform().`,
      { type },
    );
  }
  const issues = describeIssues(error);
  return new InputError(
    "invalid_payload",
    `The payload of job ${type} does not match its schema: ${issues.join("; ")}`,
    { type, issues },
  );
}

/** Callers pass the handler made of a definition as well. */
function checkDefinition(definition: unknown): void {
  if (typeof definition === "object" && definition !== null && "payload" in definition) return;
  throw new JobError(
    "invalid_options",
    "enqueue takes the definition of a job, as defineJob returns it, and got something else. In place of a handler pass the definition that it was made of.",
    { field: "definition" },
  );
}

/**
 * Callers pass what holds a client as well: a ledger, a promise of a client.
 *
 * @param caller The function that was called, for the message.
 * @throws JobError `invalid_options`.
 */
export function checkClient(caller: string, client: unknown): void {
  if (isTransactionClient(client)) return;
  const got =
    client instanceof Promise ? "a promise: await it" : `${typeof client} without a query method`;
  throw new JobError(
    "invalid_options",
    `${caller} takes the client of a transaction (of pg, Prisma, Drizzle, Kysely or postgres.js) or a pool, and got ${got}. In place of a ledger pass the pool that it was made with.`,
    { field: "tx" },
  );
}

function checkText(type: string, field: string, value: string | undefined, limit: number): void {
  if (value === undefined) return;
  const isText = typeof value === "string" && value.isWellFormed() && !value.includes("\u0000");
  if (isText && value.length >= 1 && value.length <= limit) return;
  throw new JobError(
    "invalid_options",
    `The ${field} of job ${type} must have 1 to ${limit} characters and no NUL.`,
    { type, field },
  );
}

function checkDueTime(
  type: string,
  { runAt, delayMs }: { readonly runAt?: Date; readonly delayMs?: number },
  debounceMs: number | undefined,
): void {
  const isTimed = runAt !== undefined || delayMs !== undefined;
  const problem =
    isTimed && debounceMs !== undefined
      ? "is debounced, and takes neither runAt nor delayMs"
      : runAt !== undefined && delayMs !== undefined
        ? "takes runAt or delayMs, not both"
        : runAt !== undefined && !isStorableTime(runAt)
          ? "has a runAt that is no Date of the years 1 to 9999"
          : delayMs !== undefined && !(delayMs >= 0 && delayMs <= maxDelayMs)
            ? `has a delayMs outside 0 to ${maxDelayMs}`
            : undefined;
  if (problem === undefined) return;
  throw new JobError("invalid_options", `Job ${type} ${problem}.`, { type });
}

/** Whether it is a Date of the years 1 to 9999. Callers without types pass text; a Date may be of another realm. */
export function isStorableTime(value: unknown): boolean {
  try {
    return /^(?!0000)\d{4}-/u.test(Date.prototype.toISOString.call(value));
  } catch {
    return false;
  }
}
