import { allBuckets } from "@evenkeel/core";

import type { SqlClient } from "../database/database.ts";
import { defineStatement } from "../database/statement.ts";
import { textArray } from "../database/text-array.ts";
import type { Availability } from "./claim/availability.ts";
import { tenantScanCte, type TenantScanParameter } from "./claim/tenant-scan.ts";
import type { ClaimRequest } from "./job.ts";
import { runningOfType, tenantLimits } from "./limits.ts";

/** How many jobs are in which status, over all tenants and lanes. */
export interface JobCounts {
  /** Waiting and due. */
  readonly due: number;
  /** Waiting and not due yet: scheduled, or waiting to be tried again. */
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
    (count(*) FILTER (WHERE state <> 'RUNNING' AND run_at <= now()))::int AS due,
    (count(*) FILTER (WHERE state <> 'RUNNING' AND run_at > now()))::int AS scheduled,
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
 * Goes from type to type through the index background_job_scheduled, in which the jobs wait that no host knows. Those of
 * a type that some host knows are there too where they are due later.
 */
const unknownTypesStatement = `
WITH RECURSIVE
  stored AS (
    (SELECT type FROM evenkeel.background_job WHERE state = 'SCHEDULED' ORDER BY type LIMIT 1)
    UNION ALL
    SELECT next.type FROM stored CROSS JOIN LATERAL (
      SELECT job.type FROM evenkeel.background_job AS job
      WHERE job.state = 'SCHEDULED' AND job.type > stored.type ORDER BY job.type LIMIT 1
    ) AS next
  )
SELECT stored.type, waiting.count
FROM stored CROSS JOIN LATERAL (
  SELECT count(*)::int AS count FROM (
    SELECT FROM evenkeel.background_job AS job
    WHERE job.state = 'SCHEDULED' AND job.type = stored.type AND job.run_at <= now()
    LIMIT 10000
  ) AS jobs
) AS waiting
WHERE stored.type <> ALL ($1::text::text[]) AND waiting.count > 0
ORDER BY stored.type`;

/**
 * Returns the types of due jobs that no host knows: of types not among `types`, of which no drain has said for ten minutes
 * that it has a handler. At most 10,000 of each type are counted.
 */
export async function findUnknownTypes(
  sql: SqlClient,
  availability: Availability,
  { types }: { readonly types: readonly string[] },
): Promise<TypeCount[]> {
  while (await availability.setAside(types)) {
    // What is unknown and first in its tenant's turn is set aside, a step at a time.
  }
  return sql.query<TypeCount>(unknownTypesStatement, [textArray(types)]);
}

const dueStatement = defineStatement<TenantScanParameter | "after" | "afterBucket">(`
WITH RECURSIVE
  settings AS MATERIALIZED (
    SELECT every.max_running, every.rate_limit, every.rate_period_ms, ARRAY(
      SELECT asked.type FROM unnest(:types::text[]) AS asked (type)
      LEFT JOIN evenkeel.background_job_limit AS rule ON rule.kind = 'TYPE' AND rule.subject = asked.type
      WHERE rule.paused IS NOT TRUE
        AND (rule.max_running IS NULL OR ${runningOfType("rule.subject", "rule.max_running")} < rule.max_running)
    ) AS types
    FROM (VALUES (1)) AS one
    LEFT JOIN evenkeel.background_job_limit AS every ON every.kind = 'EVERY_TENANT'
    WHERE NOT EXISTS (SELECT FROM evenkeel.background_job_limit WHERE kind = 'QUEUE' AND paused)
  ),
  rotation AS MATERIALIZED (
    SELECT :afterBucket::int AS bucket, :after::text COLLATE "C" AS tenant_id, 0 AS stop_bucket, '' AS stop_tenant
  ),
  ${tenantScanCte(true)}
SELECT EXISTS (
    SELECT FROM tenant_scan CROSS JOIN settings LEFT JOIN LATERAL ${tenantLimits("tenant_scan.tenant_id")} AS own ON true
    WHERE tenant_scan.place > 0 AND own.paused IS NOT TRUE AND COALESCE(own.room > 0, true)
  ) AS due, max(place) < (:maxTenants) AS complete,
  (array_agg(bucket ORDER BY place DESC))[1] AS "afterBucket", (array_agg(tenant_id ORDER BY place DESC))[1] AS after
FROM tenant_scan`);

/** Most tenants that one statement meets. */
const mostTenants = 2_000;

/**
 * Returns whether any job of these types could be claimed now: it is due or its lease has expired, and no pause, cap or
 * rate keeps it from being claimed.
 */
export async function hasDueJobs(
  sql: SqlClient,
  availability: Availability,
  { types, versions = {}, buckets = allBuckets }: DueRequest,
): Promise<boolean> {
  if (types.length === 0) return false;
  await availability.makeAvailable({ types, versions });
  // The first page is small: where anything is due it is likely to be in it.
  let page = { after: "", afterBucket: 0, maxTenants: 10 };
  for (;;) {
    const [row] = await sql.query<{
      due: boolean;
      complete: boolean | null;
      after: string;
      afterBucket: number;
    }>(
      dueStatement.text,
      dueStatement.values({
        ...page,
        firstBucket: buckets.from,
        lastBucket: buckets.to - 1,
        types: textArray(types),
        versions: JSON.stringify(versions),
        watermark: "-infinity",
        wrapped: false,
      }),
    );
    if (row === undefined || row.due || row.complete !== false) return row?.due ?? false;
    page = { after: row.after, afterBucket: row.afterBucket, maxTenants: mostTenants };
  }
}

/** Of which jobs to ask whether any is due: those that a claim would ask for. */
export type DueRequest = Pick<ClaimRequest, "types" | "versions" | "buckets">;
