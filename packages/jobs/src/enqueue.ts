import {
  describeIssues,
  encodePayload,
  InputError,
  lanes,
  parseTenantId,
  type Lane,
} from "@evenkeel/core";
import {
  insertJobs,
  isStorableJson,
  toSqlClient,
  type InsertedJob,
  type NewJob,
  type TransactionClient,
  type Uniqueness,
} from "@evenkeel/ledger";
import type { z } from "zod";

import { maxDelayMs } from "./definition/attempt-error.ts";
import { checkPriority, checkUniqueness, type JobDefinition } from "./definition/job-definition.ts";
import { JobError } from "./job-error.ts";

/** One job to be enqueued. */
export interface EnqueueInput<Schema extends z.ZodType = z.ZodType> {
  readonly tenantId: string;
  readonly payload: z.input<Schema>;
  /** When it is due; at once if both this and `delayMs` are absent. */
  readonly runAt?: Date;
  /** Due this many milliseconds from now, by the database's clock. Not beside `runAt`. */
  readonly delayMs?: number;
  /** `stable` by default. */
  readonly lane?: Lane;
  /** In place of the definition's own: a whole number from -10 to 10. */
  readonly priority?: number;
  /** In place of the definition's own key, 1 to 400 characters. */
  readonly uniqueKey?: string;
  /** In place of the definition's own. */
  readonly uniqueness?: Uniqueness;
  /** Handed to the handler, 1 to 200 characters. */
  readonly correlationId?: string;
}

/** The most that one call may carry, in characters of JSON: 64 Mi. */
const maxBatchLength = 64 * 1024 * 1024;

/**
 * Enqueues a job inside the caller's transaction: it exists if and when that transaction commits.
 *
 * @param tx The client of the transaction: Prisma's `tx`, a `pg` client; or a pool, which commits at once.
 * @returns The job's id; `created: false` with the id of the job that holds the unique key.
 * @throws InputError `invalid_tenant`, `invalid_payload` or `payload_too_large`, JobError `invalid_options`;
 * nothing is written then. Database errors pass through, and the transaction is then to be rolled back.
 */
export async function enqueue<Schema extends z.ZodType>(
  tx: TransactionClient,
  definition: JobDefinition<Schema>,
  input: EnqueueInput<Schema>,
): Promise<InsertedJob> {
  const [job] = await enqueueMany(tx, definition, [input]);
  if (job === undefined) throw new Error("An insert of one job came back without an answer.");
  return job;
}

/**
 * Enqueues jobs of one kind in one statement, all or none. Answers in the order given; see {@link enqueue}.
 * Two inputs with one unique key make one job.
 */
export async function enqueueMany<Schema extends z.ZodType>(
  tx: TransactionClient,
  definition: JobDefinition<Schema>,
  inputs: readonly EnqueueInput<Schema>[],
): Promise<InsertedJob[]> {
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
  const uniqueKey = input.uniqueKey ?? definition.uniqueKey?.(payload);
  checkText(type, "uniqueKey", uniqueKey, 400);
  const uniqueness = input.uniqueness ?? definition.uniqueness;
  if (uniqueness !== undefined) checkUniqueness("invalid_options", type, uniqueness);
  checkText(type, "correlationId", input.correlationId, 200);
  checkDueTime(type, input);
  checkLane(type, input.lane);
  const priority = input.priority ?? definition.priority;
  checkPriority("invalid_options", type, priority);
  return {
    tenantId,
    type,
    version,
    payloadText: text,
    lane: input.lane ?? "stable",
    priority,
    maxAttempts: definition.retry.maxAttempts,
    ...(input.runAt === undefined ? {} : { runAt: input.runAt }),
    ...(input.delayMs === undefined ? {} : { delayMs: input.delayMs }),
    ...(uniqueKey === undefined ? {} : { uniqueKey }),
    ...(uniqueKey === undefined || uniqueness === undefined ? {} : { uniqueness }),
    ...(input.correlationId === undefined ? {} : { correlationId: input.correlationId }),
  };
}

function checkTenantId(value: unknown): string {
  const tenantId = parseTenantId(value);
  if (tenantId.isWellFormed()) return tenantId;
  throw new InputError("invalid_tenant", "A tenant id must be well-formed Unicode text.", {});
}

/**
 * The payload as it will be stored, and as the handler will see it. It is parsed from its JSON form, so
 * that what is accepted here is accepted there: a Date, say, becomes a string on the way.
 */
function encodeChecked<Schema extends z.ZodType>(
  { type, payload: schema }: JobDefinition<Schema>,
  value: unknown,
): { readonly text: string; readonly payload: z.output<Schema> } {
  const text = encodePayload(value, `job ${type}`);
  if (!isStorableJson(text)) {
    throw new InputError(
      "invalid_payload",
      `The payload of job ${type} holds a NUL character or half of a surrogate pair, which Postgres cannot store. Clean the text first.`,
      { type },
    );
  }
  const result = schema.safeParse(JSON.parse(text));
  if (result.success) return { text, payload: result.data };
  const issues = describeIssues(result.error);
  throw new InputError(
    "invalid_payload",
    `The payload of job ${type} does not match its schema: ${issues.join("; ")}`,
    { type, issues },
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

function checkLane(type: string, lane: Lane | undefined): void {
  if (lane === undefined || lanes.includes(lane)) return;
  throw new JobError(
    "invalid_options",
    `The lane of job ${type} must be one of ${lanes.join(", ")}.`,
    { type, field: "lane" },
  );
}

function checkDueTime(
  type: string,
  { runAt, delayMs }: { readonly runAt?: Date; readonly delayMs?: number },
): void {
  const problem =
    runAt !== undefined && delayMs !== undefined
      ? "takes runAt or delayMs, not both"
      : runAt !== undefined && !isStorableTime(runAt)
        ? "has a runAt that is no Date of the years 1 to 9999"
        : delayMs !== undefined && !(delayMs >= 0 && delayMs <= maxDelayMs)
          ? `has a delayMs outside 0 to ${maxDelayMs}`
          : undefined;
  if (problem === undefined) return;
  throw new JobError("invalid_options", `Job ${type} ${problem}.`, { type });
}

/** Callers without types pass text; a Date may be of another realm. */
function isStorableTime(value: unknown): boolean {
  try {
    return /^(?!0000)\d{4}-/u.test(Date.prototype.toISOString.call(value));
  } catch {
    return false;
  }
}
