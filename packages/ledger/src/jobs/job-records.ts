import type { JsonValue, Lane } from "@evenkeel/core";

import { pageLimit, type Page } from "../database/page.ts";
import type { Scope } from "../database/tenant-scope.ts";
import { createJobChanges, type JobChanges } from "./job-changes.ts";
import { explainJob, type JobExplanation } from "./job-explanation.ts";
import { isJobId, type JobStatus, type RecordedAttemptError } from "./job.ts";
import type { JobProgress } from "./progress.ts";

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
export interface ScopedJobs extends JobChanges {
  /** Returns a job, or `undefined` where the scope has no such job. */
  find(id: string): Promise<JobRecord | undefined>;
  /** Returns jobs of every status, the newest first. */
  list(filter?: JobFilter): Promise<JobRecord[]>;
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

const findStatement = `SELECT ${recordColumns} FROM (${allJobs}) AS job WHERE job.id = $1::bigint`;

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
    ...createJobChanges(scope, actor),
    explain: async (id, { types } = {}) => (isJobId(id) ? explainJob(scope, id, types) : undefined),
  };
}
