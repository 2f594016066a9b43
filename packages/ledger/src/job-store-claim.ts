import type { SqlClient } from "./database.ts";
import { maxVisits, rotationCtes, type Resumption } from "./job-store-rotation.ts";
import type { ClaimedJob, ClaimRequest, ClaimResult, RecordedAttemptError } from "./job-store.ts";

/**
 * Claims a batch in one statement.
 *
 * Lapsed leases come first, for at most half of the batch, rounded up, and in turn over their tenants. The
 * rest is dealt out evenly: every due tenant met gets its share, spread over its types by the age of their
 * oldest job; the odd ones go to the tenants first in turn, and the rotation goes on behind them. What
 * small tenants leave over (`extra`) goes to whoever has more. So a tenant with work waits for at most
 * (due tenants / limit) claims, rounded up.
 */
const claimStatement = `
WITH RECURSIVE
  -- SKIP LOCKED throughout: concurrent claims never wait for each other, nor take the same job.
  -- Ranked by tenant, so that one tenant's many do not hold up another's one; the ranking looks at the
  -- 1,000 that lapsed first.
  lapsed AS MATERIALIZED (
    SELECT job.id
    FROM (
      SELECT first.id, first.lease_expires_at,
        row_number() OVER (PARTITION BY first.tenant_id ORDER BY first.lease_expires_at, first.id) AS turn
      FROM (
        SELECT job.id, job.tenant_id, job.lease_expires_at
        FROM evenkeel.background_job AS job
        WHERE job.state = 'RUNNING' AND job.lane = $1::evenkeel.lane AND job.lease_expires_at <= now()
          AND job.type = ANY (ARRAY(SELECT jsonb_array_elements_text($2::jsonb)))
        ORDER BY job.lease_expires_at
        LIMIT GREATEST(1000, $6::int)
      ) AS first
    ) AS ranked
    JOIN evenkeel.background_job AS job ON job.id = ranked.id
    WHERE job.state = 'RUNNING' AND job.lease_expires_at <= now()
    ORDER BY ranked.turn, ranked.lease_expires_at
    LIMIT ($6::int + 1) / 2
    FOR UPDATE OF job SKIP LOCKED
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
      progress = NULL,
      fence = job.fence + 1,
      owner = $10::text,
      lease_expires_at = now() + $9::int * interval '1 millisecond',
      -- The right-hand sides see the row as it was: RUNNING here means that the last worker went away.
      crashes = job.crashes + (job.state = 'RUNNING')::int,
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
  claimed.attempt, claimed.max_attempts AS "maxAttempts", claimed.crashes, claimed.fence::text,
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
  crashes: number;
  fence: string;
  runAt: Date;
  leaseExpiresAt: Date;
  correlationId: string | null;
  uniqueKey: string | null;
  errors: RecordedAttemptError[];
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
