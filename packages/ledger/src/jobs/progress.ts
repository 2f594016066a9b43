import type { SqlClient } from "../database/database.ts";
import type { JobClaim } from "./job.ts";
import { claimsOf, heldJobs } from "./lease.ts";

/** How far a held job is: `done` of `total`, in units of its own. */
export interface ProgressReport extends JobClaim {
  readonly done: number;
  readonly total: number;
}

/** A {@link ProgressReport} as recorded. */
export interface JobProgress {
  readonly done: number;
  readonly total: number;
  /** ISO 8601, the database's clock. */
  readonly at: string;
}

/**
 * Records progress. Rows are locked in the order of heartbeats and settlements. A row that its handler's transaction
 * holds is skipped: nothing may wait for a note like this.
 */
export const progressStatement: string = `
WITH held AS MATERIALIZED (
  SELECT job.id, input.done, input.total
  FROM ${claimsOf("id bigint, fence bigint, done numeric, total numeric")}
  ${heldJobs("FOR UPDATE SKIP LOCKED")}
)
UPDATE evenkeel.background_job AS job
SET progress = jsonb_build_object('done', held.done, 'total', held.total,
  'at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))
FROM held
WHERE job.id = held.id`;

/** Records how far held jobs are. Those no longer held, or locked at the moment, are left out. */
export async function recordProgress(
  sql: SqlClient,
  reports: readonly ProgressReport[],
): Promise<void> {
  if (reports.length === 0) return;
  await sql.query(progressStatement, [
    JSON.stringify(reports.map(({ id, fence, done, total }) => ({ id, fence, done, total }))),
  ]);
}
