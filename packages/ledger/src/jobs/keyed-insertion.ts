import { nextFences } from "./lease.ts";
import { dueTime, jobColumns, jobValues } from "./new-job-row.ts";
import { turnAt, waitingState } from "./turn.ts";

// A debounced job is due so long after its last enqueue, and no later than that after its first. GREATEST and LEAST leave
// out what is null.
const replacedDue = `LEAST(input.due_at, CASE WHEN input.max_delay_ms IS NOT NULL THEN date_trunc('milliseconds',
        GREATEST(job.created_at + input.max_delay_ms * interval '1 millisecond', statement_timestamp())) END)`;

/** What a batch's keys are to do. What none asks for is left out: a statement is planned each time. */
export interface KeyUse {
  /** Whether a job holds its key while it runs, or after its end. */
  readonly lasts: boolean;
  /** Whether a job replaces what waits. */
  readonly replaces: boolean;
}

// Periods are counted by now(), hence within a caller's transaction from its beginning.
const ran = `        WHEN input.states ? COALESCE(job.state::text, held.outcome::text, (
            SELECT ended.outcome::text FROM evenkeel.background_job_history AS ended
            WHERE ended.id = held.job_id AND ended.tenant_id = held.tenant_id AND ended.type = held.type
              AND ended.unique_key = held.unique_key
            ORDER BY ended.created_at DESC LIMIT 1
          ), '')
          AND COALESCE(held.enqueued_at > now() - input.period_ms * interval '1 millisecond', job.id IS NOT NULL)
          THEN 'ran'
`;

const replacement = `  replacing AS MATERIALIZED (
    SELECT waiting.id, waiting.holder_id, job.created_at
    FROM (SELECT id, holder_id FROM kept WHERE replaces ORDER BY holder_id) AS waiting
    CROSS JOIN LATERAL (
      SELECT job.created_at FROM evenkeel.background_job AS job WHERE job.id = waiting.holder_id FOR NO KEY UPDATE
    ) AS job
  ),
  -- It begins anew: what it was to do before, and what it did of that, is over. So is a run that it was delegated to.
  replaced AS (
    UPDATE evenkeel.background_job AS job
    SET version = input.version, payload = input.payload, priority = COALESCE(input.priority, 0), run_at = input.run_at,
      state = ${waitingState("input.run_at", "statement_timestamp()")},
      turn_at = ${turnAt("input.run_at", "COALESCE(input.priority, 0)")},
      max_attempts = input.max_attempts, correlation_id = input.correlation_id, attempt = 0, crashes = 0, errors = '[]',
      progress = NULL, fence = ${nextFences}
    FROM (
      SELECT job.holder_id, input.version, input.payload, input.priority, input.max_attempts, input.correlation_id,
        ${replacedDue} AS run_at
      FROM replacing AS job JOIN input USING (id)
    ) AS input
    WHERE job.id = input.holder_id AND job.id = ANY (ARRAY(SELECT holder_id FROM replacing))
    RETURNING job.id, job.created_at
  ),
  undone AS (
    DELETE FROM evenkeel.background_effect AS effect USING replaced
    WHERE effect.job_id = replaced.id AND effect.job_created_at = replaced.created_at
  ),
`;

/**
 * Inserts the jobs of its JSON ($1), of which no two have one key, and returns what became of each in their order:
 * `id` is null where another transaction got in between, and the job is to be asked for again.
 *
 * Rows are locked in one order: keys that it takes by their names, then jobs that wait by their ids. So it is where it is
 * asked again within one transaction: a key that another took first is locked by then, and the job that has it is not.
 *
 * KEY SHARE makes claims, which lock FOR UPDATE, pass a job until the caller's transaction ends, and keeps off nobody else:
 * others that meet it take the same lock, and heartbeats go on where a claim was quicker. A claim since the statement began
 * is seen under the lock.
 */
export function keyedStatement({ lasts, replaces }: KeyUse): string {
  return `
WITH
  input AS MATERIALIZED (
    SELECT item.*, ${dueTime} AS due_at, nextval('evenkeel.background_job_id_seq') AS id
    FROM ROWS FROM (
      jsonb_to_recordset($1::jsonb) AS (
        tenant_id text COLLATE "C", bucket smallint, type text COLLATE "C", version int, payload jsonb, priority smallint,
        run_at timestamptz, delay_ms float8, max_attempts int, correlation_id text, unique_key text COLLATE "C",
        states jsonb, period_ms float8, replaces bool, max_delay_ms float8, max_crashes int
      )
    ) WITH ORDINALITY AS item (
      tenant_id, bucket, type, version, payload, priority, run_at, delay_ms, max_attempts, correlation_id, unique_key,
      states, period_ms, replaces, max_delay_ms, max_crashes, place
    )
  ),
  -- The keys that have a row, and what it says.
  met AS MATERIALIZED (
    SELECT input.id, input.replaces, held.job_id AS holder_id, CASE
        -- It will not start any more: only its death is to be put on record.
        WHEN job.state <> 'RUNNING' AND (job.attempt >= job.max_attempts OR job.crashes >= input.max_crashes) THEN 'free'
        WHEN job.state <> 'RUNNING' THEN 'waits'
${lasts ? ran : ""}        ELSE 'free' END AS standing
    FROM input
    JOIN evenkeel.background_job_unique_key AS held
      ON held.tenant_id = input.tenant_id AND held.type = input.type AND held.unique_key = input.unique_key
    LEFT JOIN evenkeel.background_job AS job
      ON job.id = held.job_id AND job.tenant_id = held.tenant_id AND job.type = held.type
        AND job.unique_key = held.unique_key
  ),
  -- A key without a row, or whose job holds it no longer: taken from the job that was seen to have had it last, and from
  -- no other. Whoever comes second waits for the first, takes nothing, and asks again.
  taken AS (
    INSERT INTO evenkeel.background_job_unique_key AS held
      (tenant_id, type, unique_key, job_id, replaced_job_id, kept_until)
    SELECT input.tenant_id, input.type, input.unique_key, input.id, COALESCE(met.holder_id, 0),
      GREATEST(input.due_at, now() + COALESCE(input.period_ms, 0) * interval '1 millisecond')
    FROM input LEFT JOIN met USING (id)
    WHERE input.unique_key IS NOT NULL AND COALESCE(met.standing, 'free') = 'free'
    ORDER BY input.tenant_id, input.type, input.unique_key
    ON CONFLICT (tenant_id, type, unique_key) DO UPDATE
    SET job_id = EXCLUDED.job_id, replaced_job_id = EXCLUDED.replaced_job_id, enqueued_at = now(),
      kept_until = EXCLUDED.kept_until, outcome = NULL
    WHERE held.job_id = EXCLUDED.replaced_job_id
    RETURNING job_id
  ),
  kept AS MATERIALIZED (
    SELECT waiting.*
    FROM (
      SELECT id, holder_id, replaces FROM met
      WHERE standing = 'waits' AND (SELECT count(*) FROM taken) >= 0 -- After the locks on keys.
      ORDER BY holder_id
    ) AS waiting
    CROSS JOIN LATERAL (
      SELECT FROM evenkeel.background_job AS job
      WHERE job.id = waiting.holder_id AND job.state <> 'RUNNING' AND job.attempt < job.max_attempts
      FOR KEY SHARE
    ) AS job
  ),
${replaces ? replacement : ""}  inserted AS (
    INSERT INTO evenkeel.background_job (${jobColumns}, unique_key)
    SELECT ${jobValues}, input.unique_key FROM input
    WHERE input.unique_key IS NULL OR input.id IN (SELECT job_id FROM taken)
    RETURNING id
  )
SELECT COALESCE(own.id, kept.holder_id, CASE WHEN met.standing = 'ran' THEN met.holder_id END)::text AS id,
  own.id IS NOT NULL AS created, kept.replaces IS TRUE AS replaced
FROM input
LEFT JOIN inserted AS own ON own.id = input.id
LEFT JOIN met ON met.id = input.id
LEFT JOIN kept ON kept.id = input.id
ORDER BY input.place`;
}
