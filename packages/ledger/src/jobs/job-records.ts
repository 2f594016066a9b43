import type { Scope } from "../database/tenant-scope.ts";
import { explainJob, type JobExplanation } from "./job-explanation.ts";
import { isJobId } from "./job.ts";
import { listJobs, type JobFilter } from "./records/job-list.ts";
import { historyColumns, queueColumns, type JobRecord } from "./records/job-record.ts";

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

/** Returns the jobs of a scope. */
export function createScopedJobs(scope: Scope): ScopedJobs {
  return {
    find: async (id) =>
      isJobId(id) ? (await scope.query<JobRecord>(findStatement, [id]))[0] : undefined,
    list: (filter) => listJobs(scope, filter),
    explain: async (id, { types } = {}) => (isJobId(id) ? explainJob(scope, id, types) : undefined),
  };
}
