import type { Lane } from "@evenkeel/core";

import type { SqlClient } from "../database/database.ts";
import { defineStatement } from "../database/statement.ts";
import {
  maxVisits,
  rotationCtes,
  type Resumption,
  type RotationParameter,
} from "./claim/tenant-rotation.ts";
import { notPaused, openTypesCte, runningOfType, settingsCte } from "./limits.ts";

/** How many jobs are in which status, over all tenants and lanes. */
export interface JobCounts {
  /** Pending and due. */
  readonly due: number;
  /** Pending and not due yet: scheduled, or waiting to be tried again. */
  readonly scheduled: number;
  readonly running: number;
  readonly succeeded: number;
  readonly dead: number;
  readonly cancelled: number;
  /** Attempts that failed or whose worker died, other than the one that ended a job as dead. */
  readonly retried: number;
}

/** How many jobs of one type wait. */
export interface TypeCount {
  readonly type: string;
  readonly count: number;
}

const countsStatement = `
SELECT hot.*, settled.*, (hot.errors + settled.errors - settled.dead)::int AS retried
FROM (
  SELECT
    (count(*) FILTER (WHERE state = 'PENDING' AND run_at <= now()))::int AS due,
    (count(*) FILTER (WHERE state = 'PENDING' AND run_at > now()))::int AS scheduled,
    (count(*) FILTER (WHERE state = 'RUNNING'))::int AS running,
    COALESCE(sum(jsonb_array_length(errors)), 0) AS errors
  FROM evenkeel.background_job
) AS hot, (
  SELECT
    (count(*) FILTER (WHERE outcome = 'SUCCEEDED'))::int AS succeeded,
    (count(*) FILTER (WHERE outcome = 'DEAD'))::int AS dead,
    (count(*) FILTER (WHERE outcome = 'CANCELLED'))::int AS cancelled,
    COALESCE(sum(jsonb_array_length(errors)), 0) AS errors
  FROM evenkeel.background_job_history
) AS settled`;

/** Returns numbers over the whole queue and its history. It reads both tables. */
export async function countJobs(sql: SqlClient): Promise<JobCounts> {
  const [row] = await sql.query<JobCounts & { errors: unknown }>(countsStatement);
  if (row === undefined) throw new Error("A count came back without a row.");
  const { due, scheduled, running, succeeded, dead, cancelled, retried } = row;
  return { due, scheduled, running, succeeded, dead, cancelled, retried };
}

/**
 * Goes from type to type through the index background_job_due, and counts those not asked for. Jobs whose lease
 * expired are few: they are read as they are.
 */
const unknownTypesStatement = `
WITH RECURSIVE
  known AS MATERIALIZED (
    SELECT ARRAY(SELECT jsonb_array_elements_text($2::jsonb)) AS types
  ),
  stored AS (
    (
      SELECT type FROM evenkeel.background_job
      WHERE state = 'PENDING' AND lane = $1::evenkeel.lane
      ORDER BY type, priority, tenant_id, run_at, id
      LIMIT 1
    )
    UNION ALL
    SELECT next.type
    FROM stored
    CROSS JOIN LATERAL (
      SELECT job.type FROM evenkeel.background_job AS job
      WHERE job.state = 'PENDING' AND job.lane = $1::evenkeel.lane AND job.type > stored.type
      ORDER BY job.type, job.priority, job.tenant_id, job.run_at, job.id
      LIMIT 1
    ) AS next
  ),
  pending AS (
    SELECT stored.type, (
      SELECT count(*) FROM (
        SELECT FROM evenkeel.background_job AS job
        WHERE job.state = 'PENDING' AND job.lane = $1::evenkeel.lane AND job.type = stored.type
        LIMIT 10000
      ) AS jobs
    ) AS count
    FROM stored CROSS JOIN known
    WHERE stored.type <> ALL (known.types)
  ),
  expired AS (
    SELECT left_behind.type, count(*) AS count
    FROM (
      SELECT job.type FROM evenkeel.background_job AS job CROSS JOIN known
      WHERE job.state = 'RUNNING' AND job.lane = $1::evenkeel.lane AND job.lease_expires_at <= now()
        AND job.type <> ALL (known.types)
      LIMIT 10000
    ) AS left_behind
    GROUP BY left_behind.type
  )
SELECT type, LEAST(sum(count), 10000)::int AS count
FROM (SELECT * FROM pending UNION ALL SELECT * FROM expired) AS waiting
GROUP BY type
ORDER BY type`;

/**
 * Returns the types of jobs that wait for a runner which knows them: of types not among `types`, pending or left behind
 * by a runner that died. At most 10,000 of each type are counted.
 */
export async function findUnknownTypes(
  sql: SqlClient,
  { lane, types }: { readonly lane: Lane; readonly types: readonly string[] },
): Promise<TypeCount[]> {
  return sql.query<TypeCount>(unknownTypesStatement, [lane, JSON.stringify(types)]);
}

const dueStatement = defineStatement<RotationParameter>(`
WITH RECURSIVE
  ${settingsCte},
  ${openTypesCte},
  types AS MATERIALIZED (
    SELECT type FROM open_types
    WHERE max_running IS NULL OR ${runningOfType("type", "max_running")} < max_running
  ),
  ${rotationCtes(true)}
SELECT
  EXISTS (SELECT FROM tenants) OR EXISTS (
    SELECT FROM evenkeel.background_job AS job
    WHERE job.state = 'RUNNING' AND job.lane = :lane::evenkeel.lane AND job.lease_expires_at <= now()
      AND job.type IN (SELECT type FROM open_types) AND ${notPaused("job.tenant_id")}
  ) AS due,
  scan_end.tenant_id AS after, scan_end.wrapped, (SELECT origin FROM rotation) AS origin
FROM (VALUES (1)) AS one LEFT JOIN scan_end ON true`);

/**
 * Returns whether any job of these types could be claimed now: it is due or its lease has expired, and no pause, cap or
 * rate keeps it from being claimed.
 */
export async function hasDueJobs(
  sql: SqlClient,
  { lane, types }: { readonly lane: Lane; readonly types: readonly string[] },
): Promise<boolean> {
  if (types.length === 0) return false;
  let resumed: Resumption | undefined;
  for (;;) {
    const values = dueStatement.values({
      lane,
      types: JSON.stringify(types),
      typeCount: types.length,
      after: resumed?.after ?? "",
      origin: resumed?.origin ?? null,
      wrapped: resumed?.wrapped ?? false,
      limit: 1,
      maxVisits,
      cappedType: "",
      watermark: "-infinity",
    });
    const rows: { due: boolean; after: string | null; wrapped: boolean; origin: string }[] =
      await sql.query(dueStatement.text, values);
    const row = rows[0];
    if (row === undefined || row.due) return row?.due ?? false;
    if (row.after === null) return false;
    resumed = { after: row.after, origin: row.origin, wrapped: row.wrapped };
  }
}
