import { encodeResult, recordAttemptError } from "./job-store-record.ts";
import type { SqlClient } from "./database.ts";
import type { JobClaim, Settlement } from "./job-store.ts";

/**
 * Settles a mixed batch under the fences shown. Rows are locked in the order of their ids, as heartbeats
 * do, so that the two cannot deadlock. A row whose fence or state moved on is left out of `held`, hence of
 * everything else, and of the answer.
 */
const settleStatement = `
WITH
  input AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset($1::jsonb) AS (
      id bigint, fence bigint, kind text, delay_ms float8, result jsonb, reason text, error jsonb
    )
  ),
  held AS MATERIALIZED (
    SELECT job.id, job.attempt, input.kind, input.delay_ms, input.result, input.reason,
      -- The attempt's error, with what only the database knows.
      CASE WHEN input.error IS NOT NULL THEN input.error || jsonb_build_object(
        'attempt', job.attempt,
        'at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
      ) END AS error
    FROM input
    JOIN evenkeel.background_job AS job ON job.id = input.id
    WHERE job.state = 'RUNNING' AND job.fence = input.fence
    ORDER BY job.id
    FOR UPDATE OF job
  ),
  rescheduled AS (
    UPDATE evenkeel.background_job AS job
    SET state = 'PENDING',
      attempt = job.attempt - (held.kind <> 'retry')::int,
      run_at = CASE WHEN held.kind = 'released' THEN job.run_at
        ELSE date_trunc('milliseconds', now() + held.delay_ms * interval '1 millisecond') END,
      lease_expires_at = NULL,
      owner = NULL,
      crashes = 0,
      errors = CASE WHEN held.error IS NULL THEN job.errors
        WHEN jsonb_array_length(job.errors) >= 20 THEN (job.errors - 0) || held.error
        ELSE job.errors || held.error END
    FROM held
    WHERE job.id = held.id AND held.kind IN ('retry', 'snooze', 'released')
  ),
  finished AS (
    DELETE FROM evenkeel.background_job AS job
    USING held
    WHERE job.id = held.id AND held.kind IN ('succeeded', 'dead', 'cancelled')
    RETURNING job.id, job.tenant_id, job.type, job.version, job.payload, job.lane, job.priority, job.run_at,
      job.attempt, job.unique_key, job.correlation_id, job.created_at, job.redriven_from,
      held.kind, held.result, held.reason, held.error,
      CASE WHEN held.error IS NULL THEN job.errors
        WHEN jsonb_array_length(job.errors) >= 20 THEN (job.errors - 0) || held.error
        ELSE job.errors || held.error END AS errors
  ),
  history AS (
    INSERT INTO evenkeel.background_job_history (
      id, tenant_id, type, version, payload, lane, outcome, priority, run_at, attempt, unique_key, result,
      errors, correlation_id, created_at
    )
    SELECT id, tenant_id, type, version, payload, lane, upper(kind)::evenkeel.job_outcome, priority, run_at,
      attempt, unique_key, result, errors, correlation_id, created_at
    FROM finished
  ),
  letters AS (
    INSERT INTO evenkeel.background_dead_letter (
      kind, source_id, tenant_id, name, reason, error, payload, history, previous_id
    )
    SELECT 'JOB', id::text, tenant_id, type, reason, error ->> 'message', payload, errors, redriven_from
    FROM finished
    WHERE kind = 'dead'
    ON CONFLICT (kind, source_id) WHERE status = 'OPEN' DO NOTHING
  )
SELECT id::text FROM held`;

/**
 * The same for a batch of nothing but successes, the usual case, without locking its rows first: one write less
 * per job. They are taken in the order of their ids here too, as the array is sorted and its index is read in
 * that order; were it read otherwise, Postgres would end a deadlock with a heartbeat by an error, and the batch
 * would be settled again.
 */
const succeedStatement = `
WITH
  input AS MATERIALIZED (
    SELECT DISTINCT ON (id, fence) *
    FROM jsonb_to_recordset($1::jsonb) AS asked (id bigint, fence bigint, result jsonb)
  ),
  finished AS (
    DELETE FROM evenkeel.background_job AS job
    WHERE job.id = ANY (ARRAY(SELECT id FROM input ORDER BY id)) AND job.state = 'RUNNING'
      AND (job.id, job.fence) IN (SELECT id, fence FROM input)
    RETURNING job.id, job.fence, job.tenant_id, job.type, job.version, job.payload, job.lane, job.priority, job.run_at,
      job.attempt, job.unique_key, job.errors, job.correlation_id, job.created_at
  ),
  history AS (
    INSERT INTO evenkeel.background_job_history (
      id, tenant_id, type, version, payload, lane, outcome, priority, run_at, attempt, unique_key, result,
      errors, correlation_id, created_at
    )
    SELECT finished.id, tenant_id, type, version, payload, lane, 'SUCCEEDED', priority, run_at, attempt,
      unique_key, input.result, errors, correlation_id, created_at
    FROM finished JOIN input ON input.id = finished.id AND input.fence = finished.fence
  )
SELECT id::text FROM finished`;

/** See {@link JobStore.settle}. */
export async function settleJobs(
  sql: SqlClient,
  settlements: readonly Settlement[],
): Promise<Set<string>> {
  if (settlements.length === 0) return new Set();
  const text = `[${settlements.map(encodeSettlement).join(",")}]`;
  const isAllDone = settlements.every(({ kind }) => kind === "succeeded");
  const statement = isAllDone ? succeedStatement : settleStatement;
  const rows = await sql.query<{ id: string }>(statement, [text]);
  return new Set(rows.map((row) => row.id));
}

function encodeSettlement(settlement: Settlement): string {
  const { id, fence, kind } = settlement;
  switch (kind) {
    case "succeeded": {
      const result = encodeResult(settlement.result);
      const fields = JSON.stringify({ id, fence, kind });
      return result === undefined ? fields : `${fields.slice(0, -1)},"result":${result}}`;
    }
    case "retry":
      return JSON.stringify({
        id,
        fence,
        kind,
        delay_ms: settlement.delayMs,
        error: recordAttemptError(settlement.error),
      });
    case "snooze":
      return JSON.stringify({ id, fence, kind, delay_ms: settlement.delayMs });
    case "dead":
      return JSON.stringify({
        id,
        fence,
        kind,
        reason: settlement.reason,
        error: recordAttemptError(settlement.error),
      });
    case "released":
    case "cancelled":
      return JSON.stringify({ id, fence, kind });
  }
}

const heartbeatStatement = `
WITH held AS MATERIALIZED (
  SELECT job.id
  FROM jsonb_to_recordset($1::jsonb) AS input (id bigint, fence bigint)
  JOIN evenkeel.background_job AS job ON job.id = input.id
  WHERE job.state = 'RUNNING' AND job.fence = input.fence
  ORDER BY job.id
  FOR UPDATE OF job
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
FROM held
WHERE job.id = held.id
RETURNING job.id::text`;

/** See {@link JobStore.heartbeat}. A lease that lapsed and that nobody took over is renewed as well. */
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
