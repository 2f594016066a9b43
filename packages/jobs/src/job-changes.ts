import {
  changeJobs,
  type Cancellation,
  type JobChanges,
  type JobTarget,
  type NewDueTime,
  type Rescheduling,
  type TransactionClient,
} from "@evenkeel/ledger";

import { maxDelayMs } from "./definition/attempt-error.ts";
import { checkClient, isStorableTime } from "./enqueue.ts";
import { JobError } from "./job-error.ts";

/** Names one job of a tenant: by its id, or by the unique key that it holds. Of another tenant it names none. */
export type JobReference = { readonly tenantId: string } & (
  | { readonly id: string }
  /** The job's type, as `definition.type`, and its key as it was enqueued with. */
  | { readonly type: string; readonly uniqueKey: string }
);

/** Who changes a job and why, for the operators' audit. */
export interface CancelOptions {
  /** Who does it, 1 to 200 characters; `product` by default. */
  readonly by?: string;
  /** Why, up to 2,000 characters; none by default. */
  readonly reason?: string;
}

/** When a job is to be due: `runAt` or `delayMs`, one of them. */
export interface RescheduleOptions extends CancelOptions {
  /** When it is due, in the years 1 to 9999; at once when that is in the past. Not beside `delayMs`. */
  readonly runAt?: Date;
  /** In how many milliseconds it is due, by the database's clock: 0 to 366 days. Not beside `runAt`. */
  readonly delayMs?: number;
}

/**
 * Cancels a job inside the caller's transaction, whether it waits or runs: it is cancelled if and when that commits. Of
 * one that runs the handler's signal fires within about two seconds with a JobError `cancelled`, its settlement is
 * refused, and a transaction in which it calls `completeIn` fails. It does not wait for the handler to stop.
 *
 * Until the transaction ends the job is locked: claims pass it over, and its host goes on with its other jobs. A
 * transaction that stays open for longer than a lease may let the job run again if it is then rolled back.
 *
 * @param tx The client of the transaction: Prisma's `tx`, a `pg` client; or a pool, which commits at once.
 * @returns `cancelled: false` with the status of a job that had ended before, or without one where there is no such job.
 * @throws InputError `invalid_tenant`, JobError `invalid_options`. Database errors pass through, and the transaction is
 * then to be rolled back.
 */
export async function cancelJob(
  tx: TransactionClient,
  job: JobReference,
  options: CancelOptions = {},
): Promise<Cancellation> {
  return changesOf("cancelJob", tx, job, options).cancel(toTarget(job), reasonOf(options));
}

/**
 * Makes a job that waits due at another time, inside the caller's transaction. One that runs is not touched: the answer
 * says so. It keeps its priority, its attempts and its place in the order of its id.
 *
 * @param tx As for {@link cancelJob}.
 * @returns `rescheduled: false` with the status of a job that runs or has ended, or without one where there is no such
 * job.
 * @throws As `cancelJob` does.
 */
export async function rescheduleJob(
  tx: TransactionClient,
  job: JobReference,
  options: RescheduleOptions,
): Promise<Rescheduling> {
  const due = toDueTime(options);
  const changes = changesOf("rescheduleJob", tx, job, options);
  return changes.reschedule(toTarget(job), due, reasonOf(options));
}

function changesOf(
  caller: string,
  tx: TransactionClient,
  { tenantId }: JobReference,
  { by = "product", reason }: CancelOptions,
): JobChanges {
  checkClient(caller, tx);
  checkText("by", by, 200);
  if (reason !== undefined) checkText("reason", reason, 2_000);
  return changeJobs(tx, tenantId, by);
}

function toTarget(job: JobReference): JobTarget {
  if ("id" in job) return job.id;
  const { tenantId, type, uniqueKey } = job;
  checkText("type", type, 200);
  checkText("uniqueKey", uniqueKey, 400);
  return { tenantId, type, uniqueKey };
}

function reasonOf({ reason }: CancelOptions): { readonly reason?: string } {
  return reason === undefined ? {} : { reason };
}

function toDueTime({ runAt, delayMs }: RescheduleOptions): NewDueTime {
  if (runAt !== undefined && delayMs === undefined && isStorableTime(runAt)) return runAt;
  const isDelay = delayMs !== undefined && delayMs >= 0 && delayMs <= maxDelayMs;
  if (runAt === undefined && isDelay) return { delayMs };
  throw new JobError(
    "invalid_options",
    `rescheduleJob takes either runAt, a Date of the years 1 to 9999, or delayMs from 0 to ${maxDelayMs}.`,
    { field: runAt === undefined ? "delayMs" : "runAt" },
  );
}

/** Callers without types pass anything. */
function checkText(field: string, value: unknown, limit: number): void {
  const isText = typeof value === "string" && value.isWellFormed() && !value.includes("\u0000");
  if (isText && value.trim().length >= 1 && value.length <= limit) return;
  throw new JobError(
    "invalid_options",
    `The ${field} of a job must have 1 to ${limit} characters and no NUL.`,
    { field },
  );
}
