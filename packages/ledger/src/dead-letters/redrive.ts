import type { SqlClient } from "../database/database.ts";
import type { Scope } from "../database/tenant-scope.ts";
import { hasLiveRun } from "../runs/run-conditions.ts";
import { encodeFilter, letterCondition, type DeadLetterFilter } from "./dead-letter-records.ts";

/** A letter to be requeued. */
export interface RequeueItem {
  readonly id: string;
  /** For a job: its payload as today's schema wants it, and what today's definition says. */
  readonly job?: {
    /** JSON text. */
    readonly payload: string;
    readonly version: number;
    readonly maxAttempts: number;
  };
}

// A letter is requeued if what it asks for was written; all of it is one statement, so none is without the
// other. A letter that another operator is deciding about is skipped.
const requeueStatement = `
WITH items AS MATERIALIZED (
  SELECT DISTINCT ON (id) * FROM jsonb_to_recordset($1::jsonb) AS item (
    id uuid, payload jsonb, version int, max_attempts int)
), letters AS MATERIALIZED (
  SELECT letter.*, item.payload AS job_payload, item.version, item.max_attempts,
    CASE WHEN letter.kind = 'JOB' THEN letter.source_id::bigint END AS dead_job_id,
    nextval('evenkeel.background_job_id_seq') AS new_job_id
  FROM evenkeel.background_dead_letter AS letter JOIN items AS item USING (id)
  WHERE letter.status = 'OPEN'
  ORDER BY letter.id
  FOR UPDATE OF letter SKIP LOCKED
), ready AS MATERIALIZED (
  -- Of letters with one key the first.
  SELECT letter.*, coalesce(history.priority, 0) AS priority, history.unique_key, history.correlation_id,
    held.job_id AS holder_id, row_number() OVER (
      PARTITION BY letter.tenant_id, letter.name, coalesce(history.unique_key, letter.id::text) ORDER BY letter.id
    ) AS nth
  FROM letters AS letter
  LEFT JOIN evenkeel.background_job_history AS history
    ON history.id = letter.dead_job_id AND history.created_at = letter.source_created_at
  LEFT JOIN evenkeel.background_job_unique_key AS held
    ON held.tenant_id = letter.tenant_id AND held.type = letter.name AND held.unique_key = history.unique_key
  -- A payload that a newer build wrote is left to that build. Nothing is requeued beside a job that waits or runs under
  -- its key.
  WHERE letter.kind = 'JOB' AND letter.version >= coalesce(history.version, 0) AND NOT EXISTS (
    SELECT FROM evenkeel.background_job AS job
    WHERE job.id = held.job_id AND job.tenant_id = held.tenant_id AND job.type = held.type
      AND job.unique_key = held.unique_key
  )
), keys AS (
  -- The new job's from now on, unless another takes it at this moment. Its period goes on.
  INSERT INTO evenkeel.background_job_unique_key AS held (tenant_id, type, unique_key, job_id, replaced_job_id)
  SELECT tenant_id, name, unique_key, new_job_id, coalesce(holder_id, 0) FROM ready
  WHERE unique_key IS NOT NULL AND nth = 1
  ORDER BY tenant_id COLLATE "C", name COLLATE "C", unique_key COLLATE "C"
  ON CONFLICT (tenant_id, type, unique_key) DO UPDATE
  SET job_id = EXCLUDED.job_id, replaced_job_id = EXCLUDED.replaced_job_id, outcome = NULL
  WHERE held.job_id = EXCLUDED.replaced_job_id
  RETURNING job_id
), jobs AS (
  INSERT INTO evenkeel.background_job (
    id, tenant_id, bucket, type, version, payload, priority, turn_at, max_attempts, unique_key,
    correlation_id, redriven_from)
  SELECT new_job_id, tenant_id, evenkeel.bucket_of(tenant_id), name, version, job_payload, priority,
    CURRENT_TIMESTAMP - priority * interval '10 minutes', max_attempts, unique_key, correlation_id, id
  FROM ready
  WHERE unique_key IS NULL OR new_job_id IN (SELECT job_id FROM keys)
  RETURNING redriven_from AS id, background_job.id AS job_id, background_job.created_at AS job_created_at
), effects AS (
  -- What the dead job did or began continues under the same keys.
  UPDATE evenkeel.background_effect AS effect
  SET job_id = jobs.job_id, job_created_at = jobs.job_created_at, fence = 0
  FROM jobs JOIN letters AS letter USING (id)
  WHERE effect.job_id = letter.dead_job_id AND effect.job_created_at = letter.source_created_at
    AND effect.tenant_id = letter.tenant_id
), events AS (
  -- Inngest remembers the first id; the letter's own makes a second.
  INSERT INTO evenkeel.background_outbox_event (event_id, tenant_id, name, data)
  SELECT coalesce(payload->>'id', source_id) || ':d:' || id, tenant_id, payload->>'name',
    payload->'data'
  FROM letters
  WHERE kind = 'RUN' AND payload->>'name' <> ''
    AND payload->>'name' NOT LIKE 'inngest/%' AND jsonb_typeof(payload->'data') = 'object'
  ON CONFLICT (event_id) DO NOTHING
  RETURNING right(event_id, 36)::uuid AS id
), guards AS (
  -- A failed run that was never put on record would hold its window for ever.
  DELETE FROM evenkeel.background_dispatch_guard AS guard USING letters AS letter
  WHERE letter.kind = 'RUN' AND guard.function_id = letter.name AND guard.run_id = letter.source_id
), again AS (
  UPDATE evenkeel.background_outbox_event AS event SET status = 'PENDING', settled_at = NULL
  FROM letters AS letter
  WHERE letter.kind = 'EVENT' AND event.event_id = letter.source_id AND event.status = 'REFUSED'
  RETURNING letter.id
), windows AS (
  -- The reconciler picks it up, however old it is.
  UPDATE evenkeel.background_dispatch_window AS dispatch_window
  SET status = 'ENQUEUE_FAILED', lease_expires_at = NULL, next_repair_at = NULL, updated_at = clock_timestamp()
  FROM letters AS letter
  WHERE letter.kind = 'DISPATCH' AND dispatch_window.dispatch_key = letter.source_id
    AND (dispatch_window.status = 'ENQUEUE_FAILED'
      OR (dispatch_window.status = 'DISPATCHING' AND dispatch_window.lease_expires_at <= clock_timestamp())
      OR (dispatch_window.status = 'ENQUEUED' AND NOT ${hasLiveRun}))
  RETURNING letter.id
), done AS (
  UPDATE evenkeel.background_dead_letter AS letter
  SET status = 'REQUEUED', resolved_at = clock_timestamp(), resolved_by = $2
  FROM (
    SELECT id FROM jobs UNION ALL SELECT id FROM events UNION ALL SELECT id FROM again
    UNION ALL SELECT id FROM windows
  ) AS put
  WHERE letter.id = put.id
  RETURNING letter.id, letter.tenant_id
), audit AS (
  INSERT INTO evenkeel.background_audit_entry
    (actor, action, subject_kind, subject_id, tenant_id, before, after, reason)
  SELECT $2, 'dead_letter.requeue', 'dead_letter', id::text, tenant_id, '{"status":"OPEN"}',
    '{"status":"REQUEUED"}', $3::text FROM done
)
SELECT id::text FROM done`;

const discardStatement = `
WITH letters AS MATERIALIZED (
  SELECT letter.id FROM evenkeel.background_dead_letter AS letter
  WHERE ${letterCondition} AND letter.status = 'OPEN'
  ORDER BY letter.created_at, letter.id LIMIT $4::int
  FOR UPDATE OF letter SKIP LOCKED
), done AS (
  UPDATE evenkeel.background_dead_letter AS letter
  SET status = 'DISCARDED', resolved_at = clock_timestamp(), resolved_by = $2
  FROM letters WHERE letter.id = letters.id
  RETURNING letter.id, letter.tenant_id
), audit AS (
  INSERT INTO evenkeel.background_audit_entry
    (actor, action, subject_kind, subject_id, tenant_id, before, after, reason)
  SELECT $2, 'dead_letter.discard', 'dead_letter', id::text, tenant_id, '{"status":"OPEN"}',
    '{"status":"DISCARDED"}', $3 FROM done
)
SELECT id::text FROM done`;

/**
 * Requeues the work of open letters, each once however many operators ask. The work, the letter and the audit entry
 * change in one statement.
 *
 * @returns The letters requeued. The others are no longer open, have nothing to requeue, or their unique key is taken.
 */
export async function requeueLetters(
  sql: SqlClient,
  actor: string,
  items: readonly RequeueItem[],
  reason?: string,
): Promise<string[]> {
  const text = items.map(({ id, job }) => {
    if (job === undefined) return JSON.stringify({ id });
    const fields = JSON.stringify({ id, version: job.version, max_attempts: job.maxAttempts });
    return `${fields.slice(0, -1)},"payload":${job.payload}}`;
  });
  const rows = await sql.query<{ id: string }>(requeueStatement, [
    `[${text.join(",")}]`,
    actor,
    reason ?? null,
  ]);
  return rows.map(({ id }) => id);
}

/**
 * Closes open letters that match the filter, the oldest first, on record.
 *
 * @returns The ids of those closed: at most `limit`, which defaults to 100.
 */
export async function discardLetters(
  scope: Scope,
  actor: string,
  filter: DeadLetterFilter,
  { reason, limit = 100 }: { readonly reason: string; readonly limit?: number },
): Promise<string[]> {
  const rows = await scope.query<{ id: string }>(discardStatement, [
    encodeFilter(filter),
    actor,
    reason,
    limit,
  ]);
  return rows.map(({ id }) => id);
}
