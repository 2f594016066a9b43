import type { Scope } from "../database/tenant-scope.ts";
import { explainJob, type JobExplanation } from "./job-explanation.ts";
import { isJobId } from "./job.ts";
import { listJobs, type JobFilter } from "./records/job-list.ts";
import { historyColumns, queueColumns, type JobRecord } from "./records/job-record.ts";
import { turnAt, waitingState } from "./turn.ts";

/** Jobs, as far as a scope reaches. */
export interface ScopedJobs {
  /** Returns a job, or `undefined` where the scope has no such job. */
  find(id: string): Promise<JobRecord | undefined>;
  /**
   * Returns a page of jobs, status by status: those that run, the newest first; those that may be claimed, by tenant and
   * in their turn; those scheduled, the soonest first; those that ended, the latest first. Each is read from an index.
   *
   * @throws LedgerError `invalid_options` for a filter that no index serves: see `JobFilter.type`.
   */
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

// An id may have been used before; the newest job of it is asked for.
const findStatement = `
SELECT ${queueColumns} FROM evenkeel.background_job AS job WHERE job.id = $1::bigint AND :tenant(job.tenant_id)
UNION ALL
SELECT ${historyColumns} FROM evenkeel.background_job_history AS job
WHERE job.id = $1::bigint AND :tenant(job.tenant_id)
ORDER BY "finishedAt" DESC NULLS FIRST, "createdAt" DESC LIMIT 1`;

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
    list: (filter) => listJobs(scope, filter),
    cancel: async (id) =>
      isJobId(id) && (await scope.query(cancelStatement, [id, actor])).length === 1,
    reschedule: async (id, runAt) =>
      isJobId(id) &&
      (await scope.query(rescheduleStatement, [id, actor, runAt.toISOString()])).length === 1,
    explain: async (id, { types } = {}) => (isJobId(id) ? explainJob(scope, id, types) : undefined),
  };
}
