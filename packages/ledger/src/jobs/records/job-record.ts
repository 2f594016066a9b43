import type { JsonValue, Lane } from "@evenkeel/core";

import type { JobStatus, RecordedAttemptError } from "../job.ts";
import type { JobProgress } from "../progress.ts";

/** A job as recorded, in the queue or in its history. */
export interface JobRecord {
  readonly id: string;
  readonly tenantId: string;
  readonly type: string;
  readonly version: number;
  readonly payload: JsonValue;
  /** The lane of the claim that runs or ran it; `null` while it waits. */
  readonly lane: Lane | null;
  readonly status: JobStatus;
  /** -10 to 10: each level counts as ten minutes of waiting. */
  readonly priority: number;
  readonly runAt: Date;
  /** Attempts begun. */
  readonly attempt: number;
  readonly uniqueKey: string | null;
  readonly owner: string | null;
  readonly leaseExpiresAt: Date | null;
  /** How far the attempt that runs or ran last is, by its handler; `null` once the job has ended. */
  readonly progress: JobProgress | null;
  readonly result: JsonValue;
  readonly errors: readonly RecordedAttemptError[];
  readonly correlationId: string | null;
  readonly createdAt: Date;
  readonly finishedAt: Date | null;
}

const columns = `job.id::text, job.tenant_id AS "tenantId", job.type, job.version, job.payload, job.lane, job.priority,
  job.run_at AS "runAt", job.attempt, job.unique_key AS "uniqueKey", job.errors, job.correlation_id AS "correlationId",
  job.created_at AS "createdAt"`;

/** The columns of a {@link JobRecord}, of a row of the queue named `job`. */
export const queueColumns: string = `${columns}, job.state::text AS status, job.owner,
  job.lease_expires_at AS "leaseExpiresAt", job.progress, NULL::jsonb AS result, NULL::timestamptz AS "finishedAt"`;

/** The columns of a {@link JobRecord}, of a row of the history named `job`. */
export const historyColumns: string = `${columns}, job.outcome::text AS status, NULL::text AS owner,
  NULL::timestamptz AS "leaseExpiresAt", NULL::jsonb AS progress, job.result, job.finished_at AS "finishedAt"`;
