import type { SqlClient } from "../database/database.ts";
import { compareIds, type JobClaim } from "./job.ts";

/**
 * Whether a row of `job` is under a lease. It does not ask for `state = 'RUNNING'`: with statistics from a moment when
 * nothing ran, the planner would read all that runs from an index of running jobs, and compare each with each. So it
 * can find held jobs by their ids only.
 */
export const isHeld: string = "job.state NOT IN ('SCHEDULED', 'PENDING')";

/** Returns the claims of a statement's JSON ($1), as `input`, in the order of their ids: rows are locked in no other. */
export function claimsOf(columns: string): string {
  return `(
    SELECT * FROM jsonb_to_recordset($1::jsonb) AS claims (${columns}) ORDER BY id
  ) AS input`;
}

/** Joins each claim of `input` with its locked row of `job`, one by one by id. Those no longer held are left out. */
export function heldJobs(
  lock: "FOR UPDATE" | "FOR UPDATE SKIP LOCKED" | "FOR NO KEY UPDATE",
): string {
  return `CROSS JOIN LATERAL (
    SELECT job.id, job.attempt, job.run_at FROM evenkeel.background_job AS job
    WHERE job.id = input.id AND job.fence = input.fence AND ${isHeld}
    ${lock}
  ) AS job`;
}

/**
 * Renews leases. now() and not clock_timestamp(): a heartbeat that waited for a lock counts from before the wait, so
 * that no lease lasts longer than its holder believes. NO KEY UPDATE: an enqueue that met the job under its unique key
 * while it was being claimed has a lock on it until its transaction ends, which must not cost the lease.
 */
export const heartbeatStatement: string = `
WITH held AS MATERIALIZED (
  SELECT job.id FROM ${claimsOf("id bigint, fence bigint")} ${heldJobs("FOR NO KEY UPDATE")}
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

/**
 * Renews leases. A lease that expired is renewed as well, until a claim makes its job available again.
 *
 * @returns The ids still held. The others are held by someone else, or settled.
 */
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

/**
 * Counts the attempts of held jobs, as their handlers are about to start. Asked again it counts nothing. Ids come in
 * order, so that rows are locked in no other.
 */
const startStatement: string = `
UPDATE evenkeel.background_job AS job
SET attempt = job.attempt + (job.started_at IS NULL)::int, started_at = COALESCE(job.started_at, clock_timestamp())
WHERE job.id = ANY (ARRAY(SELECT unnest($1::text::bigint[]))) AND ${isHeld}
  AND ((job.id, job.fence) IN (SELECT * FROM unnest($1::text::bigint[], $2::text::bigint[]))) IS TRUE
RETURNING job.id::text`;

/**
 * Puts on record that the handlers of held jobs start now: the attempt counts, and if the worker dies from now on, a crash.
 *
 * @returns The ids still held. The others are held by someone else, or settled: they must not start.
 */
export async function startJobs(sql: SqlClient, claims: readonly JobClaim[]): Promise<Set<string>> {
  if (claims.length === 0) return new Set();
  const sorted = claims.toSorted((a, b) => compareIds(a.id, b.id));
  const rows = await sql.query<{ id: string }>(startStatement, [
    `{${sorted.map(({ id }) => id).join(",")}}`,
    `{${sorted.map(({ fence }) => fence).join(",")}}`,
  ]);
  return new Set(rows.map(({ id }) => id));
}
