import type { SqlClient } from "../database/database.ts";
import type { JobClaim } from "./job.ts";

/**
 * Whether a row of `job` is under a lease. Not by `state = 'RUNNING'`: that would let the planner read all that runs
 * from one of the indexes of running jobs, and compare each with each, once its statistics are from a moment when
 * nothing ran. So there is no way to held jobs but by their ids.
 */
export const isHeld: string = "job.state <> 'PENDING'";

/** The claims of a statement's JSON ($1), as `input`, in the order of their ids: rows are locked in no other. */
export function claimsOf(columns: string): string {
  return `(
    SELECT * FROM jsonb_to_recordset($1::jsonb) AS claims (${columns}) ORDER BY id
  ) AS input`;
}

/** Joins each claim of `input` with its row of `job`, locked, one by one by its id; those no longer held are left out. */
export function heldJobs(lock: "FOR UPDATE" | "FOR UPDATE SKIP LOCKED"): string {
  return `CROSS JOIN LATERAL (
    SELECT job.id, job.attempt FROM evenkeel.background_job AS job
    WHERE job.id = input.id AND job.fence = input.fence AND ${isHeld}
    ${lock}
  ) AS job`;
}

/** See {@link renewLeases}. */
export const heartbeatStatement: string = `
WITH held AS MATERIALIZED (
  SELECT job.id FROM ${claimsOf("id bigint, fence bigint")} ${heldJobs("FOR UPDATE")}
)
UPDATE evenkeel.background_job AS job
SET lease_expires_at = now() + $2::int * interval '1 millisecond',
  -- A cap that was set while the job was being claimed, or its lease renewed, did not find it.
  capped = job.capped OR CASE WHEN (
    SELECT EXISTS (SELECT FROM evenkeel.background_job_limit WHERE max_running IS NOT NULL)
  ) THEN EXISTS (
    SELECT FROM evenkeel.background_job_limit AS cap
    WHERE cap.max_running IS NOT NULL AND (cap.kind, cap.subject)
      IN (('TYPE', job.type), ('TENANT', job.tenant_id), ('EVERY_TENANT', ''))
  ) ELSE false END
WHERE job.id = ANY (ARRAY(SELECT id FROM held))
RETURNING job.id::text`;

/** See {@link JobStore.heartbeat}. A lease that expired and that nobody took over is renewed as well. */
export async function renewLeases(
  sql: SqlClient,
  claims: readonly JobClaim[],
  leaseMs: number,
): Promise<Set<string>> {
  if (claims.length === 0) return new Set();
  const rows = await sql.query<{ id: string }>(heartbeatStatement, [
    JSON.stringify(claims.map(({ id, fence }) => ({ id, fence }))),
    leaseMs,
  ]);
  return new Set(rows.map((row) => row.id));
}

const chargeStatement = `
UPDATE evenkeel.background_job AS job SET crashes = $3::int
WHERE job.id = $1::bigint AND job.fence = $2::bigint AND ${isHeld}
RETURNING job.id`;

/** See {@link JobStore.recordCrash}. */
export async function recordCrash(
  sql: SqlClient,
  { id, fence }: JobClaim,
  crashes: number,
): Promise<boolean> {
  return (await sql.query(chargeStatement, [id, fence, crashes])).length > 0;
}
