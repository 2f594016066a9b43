import type { SqlClient } from "../database/database.ts";
import { compareIds, type JobClaim } from "./job.ts";

/**
 * Whether a row of `job` is under a lease. It does not ask for `state = 'RUNNING'`: with statistics from a moment when
 * nothing ran, the planner would read all that runs from an index of running jobs, and compare each with each. So it
 * can find held jobs by their ids only.
 */
export const isHeld: string = "job.state NOT IN ('SCHEDULED', 'PENDING')";

/**
 * The fence of a waiting `job` that is put to another time, an expression: no fence is good any more that was shown
 * before, so that the run which an isolated job was delegated to does not take it over. Its last three digits count anew.
 */
export const nextFences: string = "(job.fence / 1000 + 1) * 1000";

/** Returns the claims of a statement's JSON ($1), as `input`, in the order of their ids: rows are locked in no other. */
export function claimsOf(columns: string): string {
  return `(
    SELECT * FROM jsonb_to_recordset($1::jsonb) AS claims (${columns}) ORDER BY id
  ) AS input`;
}

/** Joins each claim of `input` with its locked row of `job`, one by one by id. Those no longer held are left out. */
export function heldJobs(
  lock: "FOR UPDATE" | "FOR UPDATE SKIP LOCKED" | "FOR NO KEY UPDATE SKIP LOCKED",
): string {
  return `CROSS JOIN LATERAL (
    SELECT job.id, job.attempt, job.run_at FROM evenkeel.background_job AS job
    WHERE job.id = input.id AND job.fence = input.fence AND ${isHeld}
    ${lock}
  ) AS job`;
}

/**
 * Returns a select, the array of a statement's ids, that bounds how long the statement waits for a lock. The bound ends
 * with the statement, which is a transaction of its own: behind a pooler it reaches no other. It is set when the array is
 * made, hence before the first row is locked.
 */
export function patiently(select: string): string {
  return `${select} FROM (SELECT set_config('lock_timeout', '250ms', true) AS bound) AS patience
      WHERE bound IS NOT NULL`;
}

/** Whether a statement ended because it waited too long for a lock. */
export function isLocked(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "55P03";
}

/**
 * Renews leases. A row that another transaction has locked is passed over: a caller's open transaction must not cost
 * the others of its host their leases. now() and not clock_timestamp(): a heartbeat that was held up counts from before
 * that, so that no lease lasts longer than its holder believes. NO KEY UPDATE: an enqueue that met the job under its
 * unique key while it was being claimed has a lock on it until its transaction ends, which must not cost the lease.
 */
export const heartbeatStatement: string = `
WITH held AS MATERIALIZED (
  SELECT job.id FROM ${claimsOf("id bigint, fence bigint")} ${heldJobs("FOR NO KEY UPDATE SKIP LOCKED")}
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
 * @returns The ids renewed. The others are no longer held, or locked at the moment: see {@link findStandings}.
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
 * Where a claim stands: its fence is current, whoever may have locked the job; it was cancelled; or its job is held by
 * someone else, waits again or has ended otherwise.
 */
export type ClaimStanding = "held" | "cancelled" | "lost";

/** LIMIT 1 in a look-up of its own: never a hash of a whole table, whatever the statistics say. */
export const standingStatement: string = `
SELECT input.id::text, CASE
    WHEN (
      SELECT true FROM evenkeel.background_job AS job
      WHERE job.id = input.id AND job.fence = input.fence AND ${isHeld} LIMIT 1
    ) THEN 'held'
    WHEN (SELECT true FROM evenkeel.background_job AS job WHERE job.id = input.id LIMIT 1) THEN 'lost'
    WHEN (
      SELECT ended.outcome = 'CANCELLED' FROM evenkeel.background_job_history AS ended
      WHERE ended.id = input.id ORDER BY ended.created_at DESC LIMIT 1
    ) THEN 'cancelled'
    ELSE 'lost'
  END AS standing
FROM jsonb_to_recordset($1::jsonb) AS input (id bigint, fence bigint)`;

/** Returns where claims stand, by id. It locks nothing and waits for nobody. */
export async function findStandings(
  sql: SqlClient,
  claims: readonly JobClaim[],
): Promise<Map<string, ClaimStanding>> {
  if (claims.length === 0) return new Map();
  const rows = await sql.query<{ id: string; standing: ClaimStanding }>(standingStatement, [
    JSON.stringify(claims.map(({ id, fence }) => ({ id, fence }))),
  ]);
  return new Map(rows.map(({ id, standing }) => [id, standing]));
}

/**
 * Counts the attempts of held jobs, as their handlers are about to start. Asked again it counts nothing. Ids come in
 * order, so that rows are locked in no other.
 */
const start = (ids: string): string => `
UPDATE evenkeel.background_job AS job
SET attempt = job.attempt + (job.started_at IS NULL)::int, started_at = COALESCE(job.started_at, clock_timestamp())
WHERE job.id = ANY (ARRAY(${ids})) AND ${isHeld}
  AND ((job.id, job.fence) IN (SELECT * FROM unnest($1::text::bigint[], $2::text::bigint[]))) IS TRUE
RETURNING job.id::text`;

const startStatement = start(patiently("SELECT unnest($1::text::bigint[])"));

/** Passes over those that others have locked. What is not started goes back when its lease ends. */
const startUnlockedStatement = start(`
    SELECT free.id FROM evenkeel.background_job AS free
    WHERE free.id = ANY (ARRAY(SELECT unnest($1::text::bigint[]))) ORDER BY free.id
    FOR NO KEY UPDATE SKIP LOCKED`);

/**
 * Puts on record that the handlers of held jobs start now: the attempt counts, and if the worker dies from now on, a crash.
 *
 * @returns The ids still held. The others are held by someone else, settled, or locked by another transaction: they must
 * not start.
 */
export async function startJobs(sql: SqlClient, claims: readonly JobClaim[]): Promise<Set<string>> {
  if (claims.length === 0) return new Set();
  const sorted = claims.toSorted((a, b) => compareIds(a.id, b.id));
  const values = [
    `{${sorted.map(({ id }) => id).join(",")}}`,
    `{${sorted.map(({ fence }) => fence).join(",")}}`,
  ];
  const ask = (statement: string): Promise<{ id: string }[]> => sql.query(statement, values);
  const rows = await ask(startStatement).catch((error: unknown) => {
    if (isLocked(error)) return ask(startUnlockedStatement);
    throw error;
  });
  return new Set(rows.map(({ id }) => id));
}
