import { allBuckets } from "@evenkeel/core";

import type { SqlClient } from "../database/database.ts";
import { defineStatement } from "../database/statement.ts";
import { textArray } from "../database/text-array.ts";
import type { Availability } from "./claim/availability.ts";
import { knownVersions, tenantScanCte, type TenantScanParameter } from "./claim/tenant-scan.ts";
import type { ClaimRequest } from "./job.ts";

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

const dueStatement = defineStatement<TenantScanParameter>(`
WITH RECURSIVE
  settings AS MATERIALIZED (
    SELECT ARRAY(
      SELECT asked.type FROM unnest(:types::text[]) AS asked (type)
      LEFT JOIN LATERAL evenkeel.room_of('TYPE', asked.type) AS own ON true
      WHERE COALESCE(own.room > 0, true)
    ) AS types
    WHERE NOT EXISTS (SELECT FROM evenkeel.background_job_limit WHERE kind = 'QUEUE' AND paused)
  ),
  rotation AS MATERIALIZED (SELECT -1 AS bucket, '' COLLATE "C" AS tenant_id),
  ${tenantScanCte(true)}
SELECT EXISTS (
    SELECT FROM tenant_scan CROSS JOIN settings
    LEFT JOIN LATERAL evenkeel.room_of('TENANT', tenant_scan.tenant_id) AS own ON true
    WHERE turn_at IS NOT NULL AND COALESCE(own.room > 0, true)
  ) AS due, last.*
FROM (VALUES (1)) AS one LEFT JOIN LATERAL (
  SELECT place < :maxTenants AS complete, bucket AS "fromBucket", tenant_id AS "from"
  FROM tenant_scan ORDER BY place DESC, wrapped DESC LIMIT 1
) AS last ON true`);

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
  const request = {
    firstBucket: buckets.from,
    lastBucket: buckets.to - 1,
    types: textArray(types),
    versions: knownVersions(types, versions),
    watermark: "-infinity",
    wrapped: false,
  };
  // The first page is small: where anything is due it is likely to be in it.
  let page = { from: "", fromBucket: -1, maxTenants: 10 };
  for (;;) {
    const values = dueStatement.values({ ...request, ...page });
    const [row] = await sql.query<DuePage>(dueStatement.text, values);
    if (row === undefined || row.due || row.complete !== false) return row?.due ?? false;
    page = { from: row.from, fromBucket: row.fromBucket, maxTenants: mostTenants };
  }
}

interface DuePage {
  readonly due: boolean;
  /** `null`: the queue is paused. */
  readonly complete: boolean | null;
  readonly from: string;
  readonly fromBucket: number;
}

/** Of which jobs to ask whether any is due: those that a claim would ask for. */
export type DueRequest = Pick<ClaimRequest, "types" | "versions" | "buckets">;
