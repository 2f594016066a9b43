import { hideWorker } from "../database/redaction.ts";
import type { Scope } from "../database/tenant-scope.ts";
import { explainJob, type HoldingDecision, type JobExplanation } from "./job-explanation.ts";
import { createScopedJobs, type ScopedJobs } from "./job-records.ts";
import { isJobId, type RecordedAttemptError } from "./job.ts";
import type { JobRecord } from "./records/job-record.ts";

/** Why an attempt failed, as its tenant sees it: neither where in the code, nor on which worker. */
export type TenantAttemptError = Pick<RecordedAttemptError, "attempt" | "at" | "code" | "message">;

/** A job as its tenant sees it: without the worker that runs it. */
export interface TenantJobRecord extends Omit<JobRecord, "owner" | "errors"> {
  readonly errors: readonly TenantAttemptError[];
}

/** What keeps a tenant's job waiting: not who decided it, nor why. */
export type TenantHoldingDecision = Omit<HoldingDecision, "pausedBy" | "pauseReason">;

/** Why a job is where it is, as its tenant sees it: without the names of workers and operators. */
export interface TenantJobExplanation extends Omit<JobExplanation, "heldBy" | "lease"> {
  /** The decision that keeps it waiting, or keeps others from taking it over; `null`: none. */
  readonly heldBy: TenantHoldingDecision | null;
  readonly lease: { readonly until: Date } | null;
}

/** A tenant's jobs. */
export interface TenantJobs {
  /** Returns a job, or `undefined` where the tenant has no such job. */
  find(id: string): Promise<TenantJobRecord | undefined>;
  /** Returns a page of jobs: what runs, what may be claimed, what is scheduled, what ended. See `ScopedJobs.list`. */
  list(...filter: Parameters<ScopedJobs["list"]>): Promise<TenantJobRecord[]>;
  /**
   * Returns why a job has not run, that it runs, or how it ended. `undefined`: it is not this tenant's.
   *
   * @param options.types The types that the hosts have handlers for, to tell work that no host knows. Defaults to all.
   */
  explain(
    id: string,
    options?: { readonly types?: readonly string[] },
  ): Promise<TenantJobExplanation | undefined>;
}

/** Returns the jobs of a tenant's scope. */
export function createTenantJobs(scope: Scope): TenantJobs {
  const jobs = createScopedJobs(scope);
  return {
    find: async (id) => {
      const job = await jobs.find(id);
      return job === undefined ? undefined : toTenantJob(job);
    },
    list: async (filter) => (await jobs.list(filter)).map(toTenantJob),
    explain: async (id, { types } = {}) => {
      if (!isJobId(id)) return undefined;
      const explanation = await explainJob(scope, id, types, "tenant");
      return explanation === undefined ? undefined : toTenantExplanation(explanation);
    },
  };
}

function toTenantJob({ owner: _owner, errors, ...job }: JobRecord): TenantJobRecord {
  return { ...job, errors: errors.map(toTenantError) };
}

function toTenantExplanation({
  heldBy,
  lease,
  ...explanation
}: JobExplanation): TenantJobExplanation {
  return {
    ...explanation,
    heldBy: heldBy === null ? null : toTenantDecision(heldBy),
    lease: lease === null ? null : { until: lease.until },
  };
}

function toTenantDecision({
  pausedBy: _pausedBy,
  pauseReason: _pauseReason,
  ...decision
}: HoldingDecision): TenantHoldingDecision {
  return decision;
}

function toTenantError({ attempt, at, code, message }: RecordedAttemptError): TenantAttemptError {
  return { attempt, at, code, message: hideWorker(message) };
}
