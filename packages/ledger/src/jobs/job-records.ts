import type { JsonValue, Lane } from "@evenkeel/core";

import { pageLimit, type Page } from "../database/page.ts";
import type { Scope } from "../database/tenant-scope.ts";
import { explainJob, type JobExplanation } from "./job-explanation.ts";
import { isJobId, type JobStatus, type RecordedAttemptError } from "./job.ts";
import type { JobProgress } from "./progress.ts";
import { turnAt, waitingState } from "./turn.ts";

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

/** Which jobs to list. */
export interface JobFilter extends Page {
  /** Defaults to every status. */
  readonly status?: JobStatus;
  /** Defaults to every type. */
  readonly type?: string;
}

/** Jobs, as far as a scope reaches. */
export interface ScopedJobs {
  /** Returns a job, or `undefined` where the scope has no such job. */
  find(id: string): Promise<JobRecord | undefined>;
  /** Returns jobs of every status, the newest first. */
  list(filter?: JobFilter): Promise<JobRecord[]>;
  /** Cancels a job that waits, on record. `false`: it is running, has ended, or is not in this scope. */
  cancel(id: string): Promise<boolean>;
  /**
   * Makes a job that waits due at another time, on record. `false`: it is running, has ended, or is not in this scope.
   *
   * @throws RangeError for an invalid date.
   */
  reschedule(id: string, runAt: Date): Promise<boolean>;
  /**
   * Returns why a job has not run, who runs it, or how it ended. `undefined`: it is not in this scope.
   *
   * @param options.types The types that the hosts have handlers for, to tell work that no host knows. Defaults to all.
   */
  explain(
    id: string,
    options?: { readonly types?: readonly string[] },
  ): Promise<JobExplanation | undefined>;
}

const columns = `job.id, job.tenant_id, job.type, job.version, job.payload, job.lane, job.priority, job.run_at,
  job.attempt, job.unique_key, job.errors, job.correlation_id, job.created_at`;

const allJobs = `
SELECT ${columns}, job.state::text AS status, job.owner, job.lease_expires_at, job.progress, NULL::jsonb AS result,
  NULL::timestamptz AS finished_at
FROM evenkeel.background_job AS job WHERE :tenant(job.tenant_id)
UNION ALL
SELECT ${columns}, job.outcome::text, NULL, NULL, NULL, job.result, job.finished_at
FROM evenkeel.background_job_history AS job WHERE :tenant(job.tenant_id)`;

const recordColumns = `job.id::text, job.tenant_id AS "tenantId", job.type, job.version, job.payload, job.lane,
  job.status, job.priority, job.run_at AS "runAt", job.attempt, job.unique_key AS "uniqueKey", job.owner,
  job.lease_expires_at AS "leaseExpiresAt", job.progress, job.result, job.errors,
  job.correlation_id AS "correlationId", job.created_at AS "createdAt", job.finished_at AS "finishedAt"`;

const listStatement = `
SELECT ${recordColumns} FROM (${allJobs}) AS job
WHERE ($1::text IS NULL OR job.status = $1) AND ($2::text IS NULL OR job.type = $2)
  AND ($3::bigint IS NULL OR job.id < $3)
ORDER BY job.id DESC LIMIT $4::int`;

const findStatement = `SELECT ${recordColumns} FROM (${allJobs}) AS job WHERE job.id = $1::bigint
-- An id may have been used before; the newest job of it is asked for.
ORDER BY job.finished_at IS NULL DESC, job.created_at DESC LIMIT 1`;

// A job that is being claimed at this moment is running, and is left to its runner.
const waitingJob = `waiting AS (
  SELECT job.id, job.run_at, job.state FROM evenkeel.background_job AS job
  WHERE job.id = $1::bigint AND job.state IN ('SCHEDULED', 'PENDING') AND :tenant(job.tenant_id)
  FOR UPDATE SKIP LOCKED
)`;

const cancelStatement = `
WITH ${waitingJob}, cancelled AS (
  DELETE FROM evenkeel.background_job AS job USING waiting WHERE job.id = waiting.id
  RETURNING job.*
), audit AS (
  INSERT INTO evenkeel.background_audit_entry (actor, action, subject_kind, subject_id, tenant_id, before, after)
  SELECT $2, 'job.cancel', 'job', id::text, tenant_id, jsonb_build_object('status', state), '{"status":"CANCELLED"}'
  FROM cancelled
)
INSERT INTO evenkeel.background_job_history (
  id, tenant_id, type, version, payload, lane, outcome, priority, run_at, attempt, unique_key, errors,
  correlation_id, created_at
)
SELECT id, tenant_id, type, version, payload, lane, 'CANCELLED', priority, run_at, attempt, unique_key, errors,
  correlation_id, created_at
FROM cancelled
RETURNING id`;

const rescheduleStatement = `
WITH ${waitingJob}, moved AS (
  UPDATE evenkeel.background_job AS job
  SET run_at = due.at, turn_at = ${turnAt("due.at", "job.priority")},
    state = ${waitingState("due.at", "now()")}
  FROM waiting CROSS JOIN (SELECT date_trunc('milliseconds', $3::timestamptz) AS at) AS due
  WHERE job.id = waiting.id
  RETURNING job.id, job.tenant_id, job.run_at AS after, waiting.run_at AS before
)
INSERT INTO evenkeel.background_audit_entry (actor, action, subject_kind, subject_id, tenant_id, before, after)
SELECT $2, 'job.reschedule', 'job', id::text, tenant_id, jsonb_build_object('runAt', before),
  jsonb_build_object('runAt', after)
FROM moved
RETURNING id`;

/** Returns the jobs of a scope. */
export function createScopedJobs(scope: Scope, actor: string): ScopedJobs {
  return {
    find: async (id) =>
      isJobId(id) ? (await scope.query<JobRecord>(findStatement, [id]))[0] : undefined,
    list: ({ status, type, before, limit } = {}) => {
      if (before !== undefined && !isJobId(before)) return Promise.resolve([]);
      return scope.query<JobRecord>(listStatement, [
        status ?? null,
        type ?? null,
        before ?? null,
        pageLimit(limit),
      ]);
    },
    cancel: async (id) =>
      isJobId(id) && (await scope.query(cancelStatement, [id, actor])).length === 1,
    reschedule: async (id, runAt) =>
      isJobId(id) &&
      (await scope.query(rescheduleStatement, [id, actor, runAt.toISOString()])).length === 1,
    explain: async (id, { types } = {}) => (isJobId(id) ? explainJob(scope, id, types) : undefined),
  };
}
