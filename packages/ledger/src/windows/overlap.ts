/** The parameters of {@link overlapping}. */
export type OverlapParameter =
  | "skipOnOverlap"
  | "schedule"
  | "scope"
  | "windowStart"
  | "jobTenant"
  | "jobType"
  | "jobKey"
  | "jobKeysFrom"
  | "jobKeysUntil";

/**
 * Whether something of another window of the same schedule and scope is under way, a condition: a run that an earlier
 * one sent for, or a job that one started.
 */
export const overlapping: string = `(:skipOnOverlap::boolean AND (EXISTS (
    SELECT FROM evenkeel.background_function_run AS run
    JOIN evenkeel.background_dispatch_window AS earlier ON earlier.dispatch_key = run.dispatch_key
    WHERE run.status = 'RUNNING' AND run.event_name <> 'background/maintenance.requested'
      AND earlier.schedule = :schedule AND earlier.scope = :scope AND earlier.window_start < :windowStart::timestamptz
  ) OR EXISTS (
    SELECT FROM evenkeel.background_job AS job
    WHERE job.tenant_id = :jobTenant AND job.type = :jobType
      AND job.unique_key >= :jobKeysFrom AND job.unique_key < :jobKeysUntil AND job.unique_key <> :jobKey
  )))`;
