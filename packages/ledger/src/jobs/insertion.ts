import { bucketOf } from "@evenkeel/core";

import type { SqlClient } from "../database/database.ts";
import { defineStatement } from "../database/statement.ts";
import type { InsertedJob, NewJob } from "./job.ts";
import { turnAt, waitingState } from "./turn.ts";

/**
 * Which unique keys a batch has. `uniform`: none, and its jobs share all but tenant, payload, time and correlation.
 * `unsettled`: keys that hold while their jobs are unsettled, by an index of the queue. `lasting`: keys that hold
 * longer or shorter than that, by a table of their own.
 */
type KeyUse = "uniform" | "unsettled" | "lasting";

// Cut to the column's milliseconds: rounding up would make it due a moment after now. statement_timestamp() and not
// now(), as the caller's transaction may have begun long ago.
const dueTime = `date_trunc('milliseconds', COALESCE(
        item.run_at, statement_timestamp() + COALESCE(item.delay_ms, 0) * interval '1 millisecond'
      ))`;

/** The columns of a new job that follow from others: where it waits, and when its turn comes. Of `due` and `priority`. */
const derivedColumns = "run_at, state, turn_at, bucket";
const derived = (priority: string): string => `input.due_at,
      ${waitingState("input.due_at", "statement_timestamp()")},
      ${turnAt("input.due_at", priority)}, input.bucket`;

const input = (columns = ""): string => `
  input AS MATERIALIZED (
    SELECT item.*, ${dueTime} AS due_at, nextval('evenkeel.background_job_id_seq') AS id
    FROM ROWS FROM (
      jsonb_to_recordset($1::jsonb) AS (
        tenant_id text, bucket smallint, type text, version int, payload jsonb, priority smallint,
        run_at timestamptz, delay_ms float8, max_attempts int, correlation_id text, unique_key text
        ${columns === "" ? "" : ", lasting_key text, states jsonb, period_ms float8"}
      )
    ) WITH ORDINALITY AS item (
      tenant_id, bucket, type, version, payload, priority, run_at, delay_ms, max_attempts,
      correlation_id, unique_key ${columns}, place
    )
  )`;

/** Inserts rows of the input. `which` begins behind its FROM. */
const insert = (which: string): string => `
    INSERT INTO evenkeel.background_job (
      id, tenant_id, type, version, payload, priority, ${derivedColumns}, max_attempts, unique_key,
      correlation_id
    )
    SELECT input.id, input.tenant_id, input.type, input.version, input.payload, COALESCE(input.priority, 0),
      ${derived("COALESCE(input.priority, 0)")},
      input.max_attempts, input.unique_key, input.correlation_id
    FROM input
    ${which}`;

// Keys in one order everywhere: two batches that share keys wait for each other and do not deadlock.
// The ids were drawn in the order given, so that is the order in which equals are due.
// DO NOTHING and not DO UPDATE: the latter would lock the stored job until the caller's transaction ends,
// and with it the settlement of that job.
const insertUnsettled = insert(`
    ORDER BY input.tenant_id, input.type, input.unique_key, input.place
    ON CONFLICT (tenant_id, type, unique_key) WHERE unique_key IS NOT NULL DO NOTHING
    RETURNING id, tenant_id, type, unique_key`);

// A conflict returns the job that holds the key: a twin in this batch, or a stored one.
const holders = `
LEFT JOIN inserted AS own ON own.id = input.id
LEFT JOIN inserted AS twin ON own.id IS NULL
  AND twin.tenant_id = input.tenant_id AND twin.type = input.type AND twin.unique_key = input.unique_key
LEFT JOIN evenkeel.background_job AS stored ON own.id IS NULL
  AND stored.tenant_id = input.tenant_id AND stored.type = input.type
  AND stored.unique_key = input.unique_key`;

// Who holds a lasting key is looked up. One that no job holds any more is taken from the job that was seen to have
// had it last, and from no other. Whoever comes second finds neither, and asks again. Periods are counted
// by now(), hence within a caller's transaction from its beginning.
const lasting = `
  leaders AS MATERIALIZED (
    SELECT DISTINCT ON (input.tenant_id, input.type, input.lasting_key)
      input.id, input.tenant_id, input.type, input.lasting_key, held.job_id AS last_job_id,
      held.job_id IS NOT NULL
        AND input.states ? COALESCE(hot.state::text, ended.outcome::text, '')
        AND (input.period_ms IS NULL
          OR held.enqueued_at > now() - input.period_ms * interval '1 millisecond') AS is_held
    FROM input
    LEFT JOIN evenkeel.background_job_unique_key AS held
      ON held.tenant_id = input.tenant_id AND held.type = input.type AND held.unique_key = input.lasting_key
    LEFT JOIN evenkeel.background_job AS hot ON hot.id = held.job_id
    LEFT JOIN evenkeel.background_job_history AS ended ON ended.id = held.job_id
    WHERE input.lasting_key IS NOT NULL
    ORDER BY input.tenant_id, input.type, input.lasting_key, input.place
  ),
  taken AS (
    INSERT INTO evenkeel.background_job_unique_key AS held
      (tenant_id, type, unique_key, job_id, replaced_job_id)
    SELECT tenant_id, type, lasting_key, id, COALESCE(last_job_id, 0)
    FROM leaders
    WHERE NOT is_held
    ORDER BY tenant_id, type, lasting_key
    ON CONFLICT (tenant_id, type, unique_key) DO UPDATE
    SET job_id = EXCLUDED.job_id, replaced_job_id = EXCLUDED.replaced_job_id, enqueued_at = now()
    WHERE held.job_id = EXCLUDED.replaced_job_id
    RETURNING job_id
  ),`;

// Each statement inserts the jobs of its JSON and returns `id` and `created` in their order: see `insertJobs`.

const uniformStatement = defineStatement<"jobs" | "type" | "version" | "priority" | "maxAttempts">(`
WITH
  input AS MATERIALIZED (
    SELECT item.*, ${dueTime} AS due_at, nextval('evenkeel.background_job_id_seq') AS id
    FROM ROWS FROM (
      jsonb_to_recordset(:jobs::jsonb) AS (
        tenant_id text, bucket smallint, payload jsonb, run_at timestamptz, delay_ms float8, correlation_id text
      )
    ) WITH ORDINALITY AS item (tenant_id, bucket, payload, run_at, delay_ms, correlation_id, place)
  ),
  inserted AS (
    INSERT INTO evenkeel.background_job (
      id, tenant_id, type, version, payload, priority, ${derivedColumns}, max_attempts, correlation_id
    )
    SELECT id, tenant_id, :type::text, :version::int, payload, :priority::smallint,
      ${derived(":priority::int")}, :maxAttempts::int, correlation_id
    FROM input
  )
SELECT id::text, true AS created FROM input ORDER BY place`);

const unsettledStatement = `
WITH ${input()},
  inserted AS (${insertUnsettled})
SELECT COALESCE(own.id, twin.id, stored.id)::text AS id, own.id IS NOT NULL AS created
FROM input ${holders}
ORDER BY input.place`;

const lastingStatement = `
WITH ${input(", lasting_key, states, period_ms")},
  ${lasting}
  inserted AS (${insertUnsettled.replace(
    "ORDER BY",
    `WHERE input.lasting_key IS NULL OR input.id IN (SELECT job_id FROM taken)
    ORDER BY`,
  )})
SELECT COALESCE(own.id, twin.id, stored.id, leader.id)::text AS id, own.id IS NOT NULL AS created
FROM input ${holders}
LEFT JOIN LATERAL (
  SELECT CASE WHEN leaders.is_held THEN leaders.last_job_id ELSE (
      SELECT taken.job_id FROM taken WHERE taken.job_id = leaders.id
    ) END AS id
  FROM leaders
  WHERE leaders.tenant_id = input.tenant_id AND leaders.type = input.type
    AND leaders.lasting_key = input.lasting_key
) AS leader ON own.id IS NULL AND input.lasting_key IS NOT NULL
ORDER BY input.place`;

/**
 * Stores jobs, all or none, in one statement. A row that met a job which another transaction stored after the statement
 * began is neither inserted nor found. It is asked again, and the next statement sees that job or its absence.
 *
 * @param sql The caller's transaction, or a pool: then the jobs are committed at once.
 */
export async function insertJobs(sql: SqlClient, jobs: readonly NewJob[]): Promise<InsertedJob[]> {
  const inserted: (InsertedJob | undefined)[] = jobs.map(() => undefined);
  let open = jobs.map((_, place) => place);
  while (open.length > 0) {
    const asked = open.flatMap((place) => jobs[place] ?? []);
    const rows = await ask(sql, asked);
    const unknown: number[] = [];
    for (const [index, place] of open.entries()) {
      const row = rows[index];
      if (row === undefined || row.id === null) unknown.push(place);
      else inserted[place] = { id: row.id, created: row.created };
    }
    open = unknown;
  }
  return inserted.flatMap((job) => job ?? []);
}

interface InsertRow {
  readonly id: string | null;
  readonly created: boolean;
}

async function ask(sql: SqlClient, jobs: readonly NewJob[]): Promise<InsertRow[]> {
  const [first] = jobs;
  const keyUse = keyUseOf(jobs);
  const bucketFor = bucketsOfBatch();
  if (first === undefined || keyUse !== "uniform") {
    const statement = keyUse === "lasting" ? lastingStatement : unsettledStatement;
    const encoded = jobs.map((job) => encodeJob(job, bucketFor(job.tenantId)));
    return sql.query<InsertRow>(statement, [`[${encoded.join(",")}]`]);
  }
  const { type, version, priority = 0, maxAttempts } = first;
  const encoded = `[${jobs.map((job) => encodeOwn(job, bucketFor(job.tenantId))).join(",")}]`;
  const values = { jobs: encoded, type, version, priority, maxAttempts };
  return sql.query<InsertRow>(uniformStatement.text, uniformStatement.values(values));
}

/** Returns the bucket of a tenant, hashed once for all of its jobs. */
function bucketsOfBatch(): (tenantId: string) => number {
  const buckets = new Map<string, number>();
  return (tenantId) => {
    const bucket = buckets.get(tenantId) ?? bucketOf(tenantId);
    buckets.set(tenantId, bucket);
    return bucket;
  };
}

function keyUseOf(jobs: readonly NewJob[]): KeyUse {
  const keyed = jobs.filter(({ uniqueKey }) => uniqueKey !== undefined);
  if (keyed.some(({ uniqueness }) => uniqueness !== undefined)) return "lasting";
  return keyed.length === 0 && jobs.every((job) => isLike(job, jobs[0])) ? "uniform" : "unsettled";
}

/** Whether two jobs share what {@link encodeOwn} leaves out. */
function isLike(job: NewJob, other: NewJob | undefined): boolean {
  return (
    job.type === other?.type &&
    job.version === other.version &&
    job.priority === other.priority &&
    job.maxAttempts === other.maxAttempts
  );
}

function encodeOwn(job: NewJob, bucket: number): string {
  const fields = JSON.stringify({
    tenant_id: job.tenantId,
    bucket,
    run_at: job.runAt?.toISOString(),
    delay_ms: job.delayMs,
    correlation_id: job.correlationId,
  });
  return `${fields.slice(0, -1)},"payload":${job.payloadText}}`;
}

function encodeJob(job: NewJob, bucket: number): string {
  const { uniqueKey, uniqueness } = job;
  const fields = JSON.stringify({
    tenant_id: job.tenantId,
    bucket,
    type: job.type,
    version: job.version,
    priority: job.priority,
    run_at: job.runAt?.toISOString(),
    delay_ms: job.delayMs,
    max_attempts: job.maxAttempts,
    correlation_id: job.correlationId,
    ...(uniqueKey === undefined || uniqueness === undefined
      ? { unique_key: uniqueKey }
      : {
          lasting_key: uniqueKey,
          states: uniqueness.states ?? ["SCHEDULED", "PENDING", "RUNNING"],
          period_ms: uniqueness.periodMs,
        }),
  });
  return `${fields.slice(0, -1)},"payload":${job.payloadText}}`;
}
