import type { Lane } from "@evenkeel/events";

import type { SqlClient } from "./database.ts";
import type { ClaimedJob, ClaimRequest, ClaimResult, RecordedAttemptError } from "./job-store.ts";

/** Most pairs of a type and a tenant that one statement looks at, per type. */
const maxVisits = 2_000;

/**
 * The rotation, as CTEs over $1 lane, $2 types, $3 after, $4 origin, $5 wrapped, $6 limit, $7 visits,
 * $8 number of types.
 *
 * `ring` walks, per type, from tenant to tenant through the index background_job_due: one index probe per
 * step, whatever the backlog. It starts behind `after`, wraps at the end and stops at `origin`, or when it
 * has met `limit` tenants with due work. `tenants` are the due tenants up to the point that every type has
 * reached (`frontier`), in ring order.
 */
const rotationCtes = `
  types AS MATERIALIZED (
    -- The LIMIT changes nothing but the estimate: 100 types would be assumed, and the plan compiled (JIT).
    SELECT jsonb_array_elements_text($2::jsonb) AS type LIMIT $8::int
  ),
  rotation AS MATERIALIZED (
    SELECT seat.after, COALESCE($4::text, seat.after) AS origin
    FROM (
      SELECT COALESCE(
        $3::text,
        (SELECT after_tenant FROM evenkeel.background_job_rotation WHERE lane = $1::evenkeel.lane),
        ''
      ) AS after
    ) AS seat
  ),
  ring AS (
    SELECT types.type, rotation.after AS tenant_id, NULL::timestamptz AS head_run_at,
      $5::boolean AS wrapped, 0 AS visited, 0 AS due
    FROM types CROSS JOIN rotation
    UNION ALL
    SELECT ring.type, next.tenant_id, next.run_at, next.wrapped, ring.visited + 1,
      ring.due + (next.run_at <= now())::int
    FROM ring
    CROSS JOIN rotation
    -- The bound on a wrapped walk stands outside the LIMIT: inside, the scan would search on for a match.
    LEFT JOIN LATERAL (
      SELECT job.tenant_id, job.run_at
      FROM evenkeel.background_job AS job
      WHERE job.state = 'PENDING' AND job.lane = $1::evenkeel.lane AND job.type = ring.type
        AND job.tenant_id > ring.tenant_id
      ORDER BY job.tenant_id, job.run_at, job.id
      LIMIT 1
    ) AS ahead ON NOT ring.wrapped OR ahead.tenant_id <= rotation.origin
    LEFT JOIN LATERAL (
      SELECT job.tenant_id, job.run_at
      FROM evenkeel.background_job AS job
      WHERE ahead.tenant_id IS NULL AND NOT ring.wrapped
        AND job.state = 'PENDING' AND job.lane = $1::evenkeel.lane AND job.type = ring.type
        AND job.tenant_id <= rotation.origin
      ORDER BY job.tenant_id, job.run_at, job.id
      LIMIT 1
    ) AS behind ON true
    CROSS JOIN LATERAL (
      SELECT COALESCE(ahead.tenant_id, behind.tenant_id) AS tenant_id,
        COALESCE(ahead.run_at, behind.run_at) AS run_at,
        ring.wrapped OR ahead.tenant_id IS NULL AS wrapped
    ) AS next
    WHERE next.tenant_id IS NOT NULL AND ring.due < $6::int AND ring.visited < $7::int
  ),
  frontier AS MATERIALIZED (
    SELECT wrapped, tenant_id FROM ring
    WHERE due >= $6::int OR visited >= $7::int
    ORDER BY wrapped, tenant_id
    LIMIT 1
  ),
  heads AS MATERIALIZED (
    SELECT ring.type, ring.tenant_id, ring.wrapped, ring.head_run_at FROM ring
    WHERE ring.head_run_at <= now() AND NOT EXISTS (
      SELECT FROM frontier WHERE (frontier.wrapped, frontier.tenant_id) < (ring.wrapped, ring.tenant_id)
    )
  ),
  tenants AS MATERIALIZED (
    SELECT tenant_id, row_number() OVER (ORDER BY wrapped, tenant_id)::int AS place
    FROM (SELECT DISTINCT wrapped, tenant_id FROM heads) AS due
    ORDER BY place
    LIMIT $6::int
  )`;

/**
 * Claims a batch in one statement.
 *
 * Lapsed leases come first, for at most half of the batch. The rest is dealt out evenly: every due tenant
 * met gets its share, spread over its types by the age of their oldest job; the odd ones go to the tenants
 * first in turn, and the rotation goes on behind them. What small tenants leave over (`extra`) goes to
 * whoever has more. So a tenant with work waits for at most (due tenants / limit) claims, rounded up.
 */
const claimStatement = `
WITH RECURSIVE
  -- SKIP LOCKED throughout: concurrent claims never wait for each other, nor take the same job.
  lapsed AS MATERIALIZED (
    SELECT job.id
    FROM evenkeel.background_job AS job
    WHERE job.state = 'RUNNING' AND job.lane = $1::evenkeel.lane AND job.lease_expires_at <= now()
      AND job.type = ANY (ARRAY(SELECT jsonb_array_elements_text($2::jsonb)))
    ORDER BY job.lease_expires_at
    LIMIT ($6::int + 1) / 2
    FOR UPDATE SKIP LOCKED
  ),
  ${rotationCtes},
  deal AS MATERIALIZED (
    SELECT $6::int - (SELECT count(*) FROM lapsed)::int AS size, count(*)::int AS tenants FROM tenants
  ),
  shares AS MATERIALIZED (
    SELECT dealt.type, dealt.tenant_id, dealt.place,
      dealt.share / dealt.types + (dealt.turn <= dealt.share % dealt.types)::int AS share
    FROM (
      SELECT heads.type, heads.tenant_id, tenants.place,
        deal.size / deal.tenants + (tenants.place <= deal.size % deal.tenants)::int AS share,
        count(*) OVER (PARTITION BY heads.tenant_id)::int AS types,
        row_number() OVER (PARTITION BY heads.tenant_id ORDER BY heads.head_run_at, heads.type)::int
          AS turn
      FROM heads JOIN tenants USING (tenant_id) CROSS JOIN deal
    ) AS dealt
    ORDER BY dealt.place
  ),
  -- Here and in extra, rows are locked as they are read and the outer LIMIT stops the reading: no row is
  -- locked beyond those claimed. The inner LIMIT, of a known size, keeps the estimates near the truth.
  picked AS MATERIALIZED (
    SELECT shares.type, shares.tenant_id, job.id, job.run_at
    FROM shares
    CROSS JOIN LATERAL (
      SELECT oldest.id, oldest.run_at
      FROM (
        SELECT job.id, job.run_at
        FROM evenkeel.background_job AS job
        WHERE job.state = 'PENDING' AND job.lane = $1::evenkeel.lane AND job.type = shares.type
          AND job.tenant_id = shares.tenant_id AND job.run_at <= now()
        ORDER BY job.run_at, job.id
        LIMIT $6::int
        FOR UPDATE SKIP LOCKED
      ) AS oldest
      LIMIT shares.share
    ) AS job
  ),
  served AS MATERIALIZED (
    SELECT type, tenant_id, count(*)::int AS jobs, max(run_at) AS run_at,
      (array_agg(id ORDER BY run_at DESC, id DESC))[1] AS id
    FROM picked
    GROUP BY type, tenant_id
  ),
  room AS MATERIALIZED (
    SELECT deal.size - (SELECT count(*) FROM picked)::int AS jobs FROM deal
  ),
  extra AS MATERIALIZED (
    SELECT job.id
    FROM shares
    LEFT JOIN served USING (type, tenant_id)
    CROSS JOIN LATERAL (
      SELECT job.id
      FROM evenkeel.background_job AS job
      WHERE job.state = 'PENDING' AND job.lane = $1::evenkeel.lane AND job.type = shares.type
        AND job.tenant_id = shares.tenant_id AND job.run_at <= now()
        AND (job.run_at, job.id) > (COALESCE(served.run_at, '-infinity'), COALESCE(served.id, 0))
      ORDER BY job.run_at, job.id
      LIMIT $6::int
      FOR UPDATE SKIP LOCKED
    ) AS job
    WHERE COALESCE(served.jobs, 0) = shares.share
    LIMIT (SELECT jobs FROM room)
  ),
  claimed AS (
    UPDATE evenkeel.background_job AS job
    SET state = 'RUNNING',
      attempt = job.attempt + 1,
      fence = job.fence + 1,
      owner = $10::text,
      lease_expires_at = now() + $9::int * interval '1 millisecond',
      -- The right-hand sides see the row as it was: RUNNING here means that the last worker went away.
      errors = CASE WHEN job.state = 'RUNNING' THEN
        CASE WHEN jsonb_array_length(job.errors) >= 20 THEN job.errors - 0 ELSE job.errors END
          || jsonb_build_object(
            'attempt', job.attempt,
            'at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
            'code', 'lease_lapsed',
            'message', 'The worker ' || job.owner || ' stopped renewing its lease.'
          )
        ELSE job.errors END
    -- An array of ids and not a join: its plan stays an index scan whatever the estimates say.
    WHERE job.id = ANY (ARRAY(
      SELECT id FROM lapsed UNION ALL SELECT id FROM picked UNION ALL SELECT id FROM extra
    ))
    RETURNING job.*
  ),
  progress AS MATERIALIZED (
    SELECT
      NOT EXISTS (SELECT FROM frontier) AS complete,
      CASE
        WHEN deal.size < deal.tenants OR deal.tenants >= $6::int OR NOT EXISTS (SELECT FROM frontier)
          THEN (
            SELECT tenant_id FROM tenants
            WHERE deal.size > 0 AND place = COALESCE(NULLIF(deal.size % NULLIF(deal.tenants, 0), 0), deal.tenants)
          )
        ELSE (SELECT tenant_id FROM frontier)
      END AS last_tenant,
      (SELECT wrapped FROM frontier) AS wrapped,
      (SELECT origin FROM rotation) AS origin
    FROM deal
  ),
  moved AS (
    INSERT INTO evenkeel.background_job_rotation (lane, after_tenant)
    SELECT $1::evenkeel.lane, progress.last_tenant
    FROM progress
    WHERE $3::text IS NULL AND progress.last_tenant IS NOT NULL
    ON CONFLICT (lane) DO UPDATE SET after_tenant = EXCLUDED.after_tenant, updated_at = now()
  )
SELECT
  progress.complete, progress.last_tenant AS "lastTenant", progress.wrapped, progress.origin,
  claimed.id::text, claimed.tenant_id AS "tenantId", claimed.type, claimed.version, claimed.payload,
  claimed.attempt, claimed.max_attempts AS "maxAttempts", claimed.fence::text,
  claimed.run_at AS "runAt", claimed.lease_expires_at AS "leaseExpiresAt",
  claimed.correlation_id AS "correlationId", claimed.unique_key AS "uniqueKey", claimed.errors
FROM progress
LEFT JOIN claimed ON true
ORDER BY
  row_number() OVER (PARTITION BY claimed.tenant_id ORDER BY claimed.run_at, claimed.id),
  claimed.tenant_id`;

interface ClaimRow {
  complete: boolean;
  lastTenant: string | null;
  wrapped: boolean | null;
  origin: string;
  id: string | null;
  tenantId: string;
  type: string;
  version: number;
  payload: unknown;
  attempt: number;
  maxAttempts: number;
  fence: string;
  runAt: Date;
  leaseExpiresAt: Date;
  correlationId: string | null;
  uniqueKey: string | null;
  errors: RecordedAttemptError[];
}

/** Where a walk that met no due work in one statement goes on in the next. */
interface Resumption {
  readonly after: string;
  readonly origin: string;
  readonly wrapped: boolean;
}

/** See {@link JobStore.claim}. One statement, repeated only while the walk meets nothing but future work. */
export async function claimJobs(sql: SqlClient, request: ClaimRequest): Promise<ClaimResult> {
  const { lane, types, limit, leaseMs, owner, afterTenant } = request;
  if (types.length === 0 || limit < 1) return { jobs: [] };
  const typesText = JSON.stringify(types);
  let walk: Resumption | undefined;
  for (;;) {
    const rows: ClaimRow[] = await sql.query<ClaimRow>(claimStatement, [
      lane,
      typesText,
      walk?.after ?? afterTenant ?? null,
      walk?.origin ?? null,
      walk?.wrapped ?? false,
      limit,
      Math.max(maxVisits, limit),
      types.length,
      leaseMs,
      owner,
    ]);
    const first = rows[0];
    if (first === undefined) return { jobs: [] };
    const jobs = rows.flatMap((row) => (row.id === null ? [] : [toClaimedJob(row.id, row)]));
    if (jobs.length > 0 || first.complete || first.lastTenant === null) {
      return { jobs, ...(first.lastTenant === null ? {} : { lastTenant: first.lastTenant }) };
    }
    walk = { after: first.lastTenant, origin: first.origin, wrapped: first.wrapped ?? true };
  }
}

function toClaimedJob(id: string, row: ClaimRow): ClaimedJob {
  const {
    complete: _complete,
    lastTenant: _last,
    wrapped: _wrapped,
    origin: _origin,
    ...job
  } = row;
  return { ...job, id };
}

const dueStatement = `
WITH RECURSIVE ${rotationCtes}
SELECT
  EXISTS (SELECT FROM tenants) OR EXISTS (
    SELECT FROM evenkeel.background_job AS job
    WHERE job.state = 'RUNNING' AND job.lane = $1::evenkeel.lane AND job.lease_expires_at <= now()
      AND job.type IN (SELECT type FROM types)
  ) AS due,
  frontier.tenant_id AS after, frontier.wrapped, (SELECT origin FROM rotation) AS origin
FROM (VALUES (1)) AS one LEFT JOIN frontier ON true`;

/** See {@link JobStore.hasDue}. */
export async function hasDueJobs(
  sql: SqlClient,
  { lane, types }: { readonly lane: Lane; readonly types: readonly string[] },
): Promise<boolean> {
  if (types.length === 0) return false;
  const typesText = JSON.stringify(types);
  let walk: Resumption | undefined;
  for (;;) {
    const rows: { due: boolean; after: string | null; wrapped: boolean; origin: string }[] =
      await sql.query(dueStatement, [
        lane,
        typesText,
        walk?.after ?? "",
        walk?.origin ?? null,
        walk?.wrapped ?? false,
        1,
        maxVisits,
        types.length,
      ]);
    const row = rows[0];
    if (row === undefined || row.due) return row?.due ?? false;
    if (row.after === null) return false;
    walk = { after: row.after, origin: row.origin, wrapped: row.wrapped };
  }
}
