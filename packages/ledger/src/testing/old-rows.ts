import { randomUUID } from "node:crypto";

import type { Pool } from "pg";

import type { RetentionPolicy } from "../retention/retention-policy.ts";

/** Inserts a row of a status whose age is so many days, and answers its key. */
type InsertOld = (pool: Pool, status: string, days: number) => Promise<string>;

/** What a window or a run can be given beside its age. */
interface WindowChange {
  readonly dispatchKey?: string;
  readonly schedule?: string;
  readonly windowSeconds?: number;
  /** How long ago the window ended, in days; as long ago as it was last changed if absent. */
  readonly endedDays?: number;
}

const ago = (parameter: string): string => `now() - ${parameter}::float8 * interval '1 day'`;

/** A window of a schedule of its own, unless it is given one. */
export async function insertWindow(
  pool: Pool,
  status: string,
  days: number,
  change: WindowChange = {},
): Promise<string> {
  const { dispatchKey = `w-${randomUUID()}`, windowSeconds = 60, endedDays = days } = change;
  await pool.query(
    `INSERT INTO evenkeel.background_dispatch_window (dispatch_key, schedule, scope,
       window_start, window_seconds, status, fence, owner, correlation_id, lease_expires_at,
       enqueued_at, created_at, updated_at)
     VALUES ($1, $2, 'global', ${ago("$6")} - $3::int * interval '1 second', $3::int,
       $4::evenkeel.window_status, gen_random_uuid(), 'o', 'c',
       CASE WHEN $4 = 'DISPATCHING' THEN ${ago("$5")} END, CASE WHEN $4 = 'ENQUEUED' THEN ${ago("$5")} END,
       ${ago("$5")}, ${ago("$5")})`,
    [dispatchKey, change.schedule ?? `s-${dispatchKey}`, windowSeconds, status, days, endedDays],
  );
  return dispatchKey;
}

/** The window that keeps an older one of its schedule from being the newest. */
export async function insertNewest(pool: Pool, schedule: string): Promise<string> {
  return insertWindow(pool, "ENQUEUED", 0, { schedule });
}

/** A guard on a window, held by a run. */
export async function insertGuard(
  pool: Pool,
  days: number,
  { dispatchKey = `g-${randomUUID()}`, runId = "r" }: { dispatchKey?: string; runId?: string } = {},
): Promise<string> {
  await pool.query(
    `INSERT INTO evenkeel.background_dispatch_guard (function_id, dispatch_key, run_id, taken_at)
     VALUES ('f', $1, $2, ${ago("$3")})`,
    [dispatchKey, runId, days],
  );
  return dispatchKey;
}

/** A run with one attempt. */
export async function insertRun(
  pool: Pool,
  status: string,
  days: number,
  { dispatchKey, runId = `r-${randomUUID()}` }: { dispatchKey?: string; runId?: string } = {},
): Promise<string> {
  await pool.query(
    `WITH run AS (
       INSERT INTO evenkeel.background_function_run (run_id, function_id, dispatch_key, event_name,
         status, owner, started_at, heartbeat_at, finished_at)
       VALUES ($1, 'f', $2, 'background/process.requested', $3::evenkeel.run_status, 'o',
         ${ago("$4")} - interval '1 second', ${ago("$4")},
         CASE WHEN $3 NOT IN ('RUNNING', 'STALE') THEN ${ago("$4")} END)
       RETURNING id
     )
     INSERT INTO evenkeel.background_function_attempt (run_row_id, attempt, owner)
     SELECT id, 0, 'o' FROM run`,
    [runId, dispatchKey ?? null, status, days],
  );
  return runId;
}

/** A settled job. */
export async function insertHistory(pool: Pool, outcome: string, days: number): Promise<string> {
  const { rows } = await pool.query<{ id: string }>(
    `INSERT INTO evenkeel.background_job_history (id, tenant_id, type, version, payload, lane,
       outcome, run_at, attempt, errors, created_at, finished_at)
     VALUES (nextval('"evenkeel"."background_job_id_seq"'), 't', 'j', 1, '{}', 'stable',
       $1::evenkeel.job_outcome, ${ago("$2")}, 1, '[]', ${ago("$2")}, ${ago("$2")})
     RETURNING id::text`,
    [outcome, days],
  );
  return rows[0]?.id ?? "";
}

/** A letter on something that failed. */
export async function insertLetter(
  pool: Pool,
  status: string,
  days: number,
  { kind = "JOB", sourceId = `l-${randomUUID()}` }: { kind?: string; sourceId?: string } = {},
): Promise<string> {
  await pool.query(
    `INSERT INTO evenkeel.background_dead_letter (kind, source_id, source_created_at, name, reason, error, status,
       created_at, resolved_at)
     VALUES ($1::evenkeel.dead_letter_kind, $2, COALESCE((
       SELECT created_at FROM evenkeel.background_job_history WHERE id::text = $2
     ), 'epoch'), 'n', 'exhausted', 'e',
       $3::evenkeel.dead_letter_status, ${ago("$4")} - interval '1 second',
       CASE WHEN $3 <> 'OPEN' THEN ${ago("$4")} END)`,
    [kind, sourceId, status, days],
  );
  return sourceId;
}

/** An event that left the outbox. */
async function insertEvent(pool: Pool, status: string, days: number): Promise<string> {
  const id = `e-${randomUUID()}`;
  await pool.query(
    `INSERT INTO evenkeel.background_outbox_event (event_id, name, data, status, settled_at)
     VALUES ($1, 'n', '{}', $2::evenkeel.outbox_status, ${ago("$3")})`,
    [id, status, days],
  );
  return id;
}

/** A decision of an operator. */
async function insertAudit(pool: Pool, days: number): Promise<string> {
  const id = randomUUID();
  await pool.query(
    `INSERT INTO evenkeel.background_audit_entry (id, at, actor, action, subject_kind, subject_id)
     VALUES ($1, ${ago("$2")}, 'a', 'b', 'c', 'd')`,
    [id, days],
  );
  return id;
}

/** An effect of a job, of none that is on record unless it is given one. */
export async function insertEffect(pool: Pool, days: number, jobId = "0"): Promise<string> {
  const name = `f-${randomUUID()}`;
  await pool.query(
    `INSERT INTO evenkeel.background_effect (job_id, job_created_at, name, tenant_id, fence, started_at)
     VALUES ($1, COALESCE((SELECT created_at FROM evenkeel.background_job WHERE id = $1), (
       SELECT source_created_at FROM evenkeel.background_dead_letter WHERE source_id = $1::bigint::text
     ), 'epoch'), $2, 't', 1, ${ago("$3")})`,
    [jobId, name, days],
  );
  return name;
}

/** A unique key of a job, of none that is on record unless it is given one. */
export async function insertUniqueKey(pool: Pool, days: number, jobId = "0"): Promise<string> {
  const key = `u-${randomUUID()}`;
  await pool.query(
    `INSERT INTO evenkeel.background_job_unique_key
       (tenant_id, type, unique_key, job_id, replaced_job_id, kept_until)
     VALUES ('t', 'a', $1, $2, 0, ${ago("$3")})`,
    [key, jobId, days],
  );
  return key;
}

/** What claims know of a tenant that they met under a limit for every tenant. */
async function insertLimit(pool: Pool, days: number): Promise<string> {
  const tenant = `t-${randomUUID()}`;
  await pool.query(
    `INSERT INTO evenkeel.background_job_limit (kind, subject, spent, updated_at)
     VALUES ('TENANT', $1, '{"1":5}', ${ago("$2")})`,
    [tenant, days],
  );
  return tenant;
}

/** Per table of the policy: how a row of it is made that nothing but its age keeps. */
export const insertOld: Readonly<Record<keyof RetentionPolicy, InsertOld>> = {
  windows: async (pool, status, days) => {
    const key = await insertWindow(pool, status, days);
    await insertNewest(pool, `s-${key}`);
    return key;
  },
  guards: (pool, _status, days) => insertGuard(pool, days),
  runs: insertRun,
  jobHistory: insertHistory,
  effects: (pool, _status, days) => insertEffect(pool, days),
  uniqueKeys: (pool, _status, days) => insertUniqueKey(pool, days),
  limits: (pool, _status, days) => insertLimit(pool, days),
  deadLetters: insertLetter,
  outbox: insertEvent,
  audit: (pool, _status, days) => insertAudit(pool, days),
};

/** The keys of every row of the ledger. */
export async function readKeys(pool: Pool): Promise<string[]> {
  const { rows } = await pool.query<{ key: string }>(
    `SELECT dispatch_key AS key FROM evenkeel.background_dispatch_window
     UNION ALL SELECT dispatch_key FROM evenkeel.background_dispatch_guard
     UNION ALL SELECT run_id FROM evenkeel.background_function_run
     UNION ALL SELECT id::text FROM evenkeel.background_job
     UNION ALL SELECT id::text FROM evenkeel.background_job_history
     UNION ALL SELECT name FROM evenkeel.background_effect
     UNION ALL SELECT unique_key FROM evenkeel.background_job_unique_key
     UNION ALL SELECT subject FROM evenkeel.background_job_limit
     UNION ALL SELECT source_id FROM evenkeel.background_dead_letter
     UNION ALL SELECT event_id FROM evenkeel.background_outbox_event
     UNION ALL SELECT id::text FROM evenkeel.background_audit_entry
     ORDER BY 1`,
  );
  return rows.map(({ key }) => key);
}
