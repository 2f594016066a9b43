import { bucketOf } from "@evenkeel/core";

import type { SqlClient } from "../database/database.ts";
import { defineStatement } from "../database/statement.ts";
import type { InsertedJob, NewJob } from "./job.ts";
import { keyedStatement } from "./keyed-insertion.ts";
import { derivedColumns, derivedValues, dueTime } from "./new-job-row.ts";

/** Inserts jobs that have no key and share all but tenant, payload, time and correlation. */
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
      ${derivedValues(":priority::int")}, :maxAttempts::int, correlation_id
    FROM input
  )
SELECT id::text, true AS created FROM input ORDER BY place`);

/** What a statement is asked to store: one job for all places of a batch that have one key. */
interface Request {
  job: NewJob;
  readonly places: number[];
}

/**
 * Stores jobs, all or none, in one statement. A job that met one which another transaction stored, or began, after the
 * statement began is asked for again, and the next statement sees what became of that.
 *
 * @param sql The caller's transaction, or a pool: then the jobs are committed at once.
 */
export async function insertJobs(sql: SqlClient, jobs: readonly NewJob[]): Promise<InsertedJob[]> {
  const inserted = new Map<number, InsertedJob>();
  let open = joinTwins(jobs);
  while (open.length > 0) {
    const asked = open;
    const rows = await ask(
      sql,
      asked.map(({ job }) => job),
    );
    open = [];
    for (const [index, request] of asked.entries()) {
      const row = rows[index];
      if (row === undefined || row.id === null) open.push(request);
      else {
        for (const place of request.places) {
          inserted.set(place, answer(row.id, row, jobs[place], place === request.places[0]));
        }
      }
    }
  }
  return jobs.flatMap((_, place) => inserted.get(place) ?? []);
}

interface InsertRow {
  readonly id: string | null;
  readonly created: boolean;
  readonly replaced?: boolean;
}

function answer(
  id: string,
  row: InsertRow,
  job: NewJob | undefined,
  isFirst: boolean,
): InsertedJob {
  const created = row.created && isFirst;
  const isReplacing = job !== undefined && replaces(job) && !created;
  return isReplacing && (row.replaced === true || row.created)
    ? { id, created, replaced: true }
    : { id, created };
}

function replaces({ uniqueness }: NewJob): boolean {
  return uniqueness?.onConflict === "replace";
}

/** Jobs of one key make one job: the first, or the last that replaces what it meets. */
function joinTwins(jobs: readonly NewJob[]): Request[] {
  const byKey = new Map<string, Request>();
  const requests: Request[] = [];
  for (const [place, job] of jobs.entries()) {
    const key =
      job.uniqueKey === undefined ? "" : [job.tenantId, job.type, job.uniqueKey].join("\0");
    const twin = byKey.get(key);
    if (key === "" || twin === undefined) {
      const request = { job, places: [place] };
      requests.push(request);
      if (key !== "") byKey.set(key, request);
    } else {
      twin.places.push(place);
      if (replaces(job)) twin.job = job;
    }
  }
  return requests;
}

async function ask(sql: SqlClient, jobs: readonly NewJob[]): Promise<InsertRow[]> {
  const [first] = jobs;
  const bucketFor = bucketsOfBatch();
  if (first === undefined || !jobs.every((job) => isLike(job, first))) {
    const encoded = jobs.map((job) => encodeJob(job, bucketFor(job.tenantId)));
    const keyUse = {
      lasts: jobs.some(
        ({ uniqueness }) => (uniqueness?.states ?? uniqueness?.periodMs) !== undefined,
      ),
      replaces: jobs.some(replaces),
    };
    return sql.query<InsertRow>(keyedStatement(keyUse), [`[${encoded.join(",")}]`]);
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

/** Whether a job has no key, and shares with another what {@link encodeOwn} leaves out. */
function isLike(job: NewJob, other: NewJob): boolean {
  return (
    job.uniqueKey === undefined &&
    job.type === other.type &&
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
  const { uniqueness: { states, periodMs, maxDelayMs } = {} } = job;
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
    unique_key: job.uniqueKey,
    states: states ?? (periodMs === undefined ? undefined : ["RUNNING", "SUCCEEDED"]),
    period_ms: periodMs,
    replaces: replaces(job),
    max_delay_ms: maxDelayMs,
    max_crashes: job.uniqueKey === undefined ? undefined : job.maxCrashes,
  });
  return `${fields.slice(0, -1)},"payload":${job.payloadText}}`;
}
