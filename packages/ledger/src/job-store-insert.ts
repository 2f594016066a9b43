import type { SqlClient } from "./database.ts";
import type { InsertedJob, NewJob } from "./job-store.ts";

/**
 * Inserts the jobs of $1. An id is drawn per row beforehand, so that each row of the answer finds its
 * question. A conflict is answered with the job that holds the key: a twin in this batch, or a stored one.
 * DO NOTHING and not DO UPDATE: the latter would lock the stored job until the caller's transaction ends,
 * and with it the settlement of that job.
 */
const insertStatement = `
WITH
  input AS MATERIALIZED (
    SELECT item.*, nextval('evenkeel.background_job_id_seq') AS id
    FROM ROWS FROM (
      jsonb_to_recordset($1::jsonb) AS (
        tenant_id text, type text, version int, payload jsonb, lane text, priority smallint,
        run_at timestamptz, delay_ms float8, max_attempts int, unique_key text, correlation_id text
      )
    ) WITH ORDINALITY AS item (
      tenant_id, type, version, payload, lane, priority, run_at, delay_ms, max_attempts,
      unique_key, correlation_id, place
    )
  ),
  inserted AS (
    INSERT INTO evenkeel.background_job (
      id, tenant_id, type, version, payload, lane, priority, run_at, max_attempts, unique_key, correlation_id
    )
    SELECT id, tenant_id, type, version, payload, lane::evenkeel.lane, COALESCE(priority, 0),
      -- Cut to the column's milliseconds: rounding up would make it due a moment after now.
      date_trunc('milliseconds', COALESCE(
        run_at, statement_timestamp() + COALESCE(delay_ms, 0) * interval '1 millisecond'
      )),
      max_attempts, unique_key, correlation_id
    FROM input
    -- Keys in one order everywhere: two batches that share keys wait for each other and do not deadlock.
    -- The ids were drawn in the order given, so that is the order in which equals are due.
    ORDER BY tenant_id, type, unique_key, place
    ON CONFLICT (tenant_id, type, unique_key) WHERE unique_key IS NOT NULL DO NOTHING
    RETURNING id, tenant_id, type, unique_key
  )
SELECT COALESCE(own.id, twin.id, stored.id)::text AS id, own.id IS NOT NULL AS created
FROM input
LEFT JOIN inserted AS own ON own.id = input.id
LEFT JOIN inserted AS twin ON own.id IS NULL
  AND twin.tenant_id = input.tenant_id AND twin.type = input.type AND twin.unique_key = input.unique_key
LEFT JOIN evenkeel.background_job AS stored ON own.id IS NULL
  AND stored.tenant_id = input.tenant_id AND stored.type = input.type
  AND stored.unique_key = input.unique_key
ORDER BY input.place`;

/**
 * See {@link JobStore.insert}. A row that met a job which another transaction stored after this statement
 * began is neither inserted nor found; it is asked again, and the next statement sees that job or its absence.
 */
export async function insertJobs(sql: SqlClient, jobs: readonly NewJob[]): Promise<InsertedJob[]> {
  const answers: (InsertedJob | undefined)[] = jobs.map(() => undefined);
  let open = jobs.map((_, place) => place);
  while (open.length > 0) {
    const asked = open.flatMap((place) => jobs[place] ?? []);
    const rows = await sql.query<{ id: string | null; created: boolean }>(insertStatement, [
      `[${asked.map(encodeJob).join(",")}]`,
    ]);
    const unanswered: number[] = [];
    for (const [index, place] of open.entries()) {
      const row = rows[index];
      if (row === undefined || row.id === null) unanswered.push(place);
      else answers[place] = { id: row.id, created: row.created };
    }
    open = unanswered;
  }
  return answers.flatMap((answer) => answer ?? []);
}

function encodeJob(job: NewJob): string {
  const fields = JSON.stringify({
    tenant_id: job.tenantId,
    type: job.type,
    version: job.version,
    lane: job.lane,
    priority: job.priority,
    run_at: job.runAt?.toISOString(),
    delay_ms: job.delayMs,
    max_attempts: job.maxAttempts,
    unique_key: job.uniqueKey,
    correlation_id: job.correlationId,
  });
  return `${fields.slice(0, -1)},"payload":${job.payloadText}}`;
}
