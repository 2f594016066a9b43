import type { ClaimedJob, RecordedAttemptError } from "../job.ts";

/**
 * The columns of a {@link ClaimedRow}, of `job`. Short, as every job of a batch is written so. The attempt is the one that
 * its handler's start will count. A job without an attempt has no errors.
 */
export const claimedColumns: string = `job.id::text, job.tenant_id AS "tenantId", job.type, job.version, job.payload,
      job.priority, job.attempt + 1 AS attempt, job.max_attempts AS "maxAttempts", job.crashes,
      job.fence::text, date_part('epoch', job.run_at) AS "runAt",
      job.correlation_id AS "correlationId", CASE WHEN job.attempt > 0 THEN job.errors END AS errors`;

/** A claimed job as a statement returns it. */
export interface ClaimedRow {
  readonly id: string;
  readonly tenantId: string;
  readonly type: string;
  readonly version: number;
  readonly payload: unknown;
  readonly priority: number;
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly crashes: number;
  readonly fence: string;
  /** Seconds since 1970. */
  readonly runAt: number;
  readonly correlationId: string | null;
  /** `null`: none. */
  readonly errors: readonly RecordedAttemptError[] | null;
}

/** Returns the job that a row stands for. */
export function toClaimedJob(row: ClaimedRow): ClaimedJob {
  const { id, tenantId, type, version, payload, priority, attempt, maxAttempts, crashes } = row;
  const { fence, correlationId } = row;
  const runAt = new Date(Math.round(row.runAt * 1_000));
  const errors = row.errors ?? [];
  const job = { id, tenantId, type, version, payload, priority, attempt, maxAttempts, crashes };
  return { ...job, fence, runAt, correlationId, errors };
}
