import { tenantLimits } from "../limits.ts";

/** Most pairs of a type and a tenant that one statement looks at, per type. */
export const maxVisits: number = 2_000;

/** How many jobs a step of the walk passes at most, while it meets nothing but work that is not due. */
const skip = 16;

/**
 * One step of a stream: the next tenant with due work and when its oldest is due; where none of the next
 * jobs is due, a skip further, so that thousands of tenants with nothing but scheduled work are soon passed.
 */
const nextTenant = (which: string): string => `(
      SELECT next.tenant_id, next.run_at
      FROM (
        SELECT job.tenant_id, job.run_at,
          row_number() OVER (ORDER BY job.tenant_id, job.run_at, job.id) AS step
        FROM evenkeel.background_job AS job
        WHERE job.state = 'PENDING' AND job.lane = $1::evenkeel.lane AND job.type = tenant_scan.type
          AND job.priority = tenant_scan.priority AND ${which}
          AND job.run_at >= $10::timestamptz
        ORDER BY job.tenant_id, job.run_at, job.id
        LIMIT ${skip}
      ) AS next
      WHERE next.run_at <= now() OR next.step = ${skip}
      LIMIT 1
    )`;

/**
 * The rotation, as CTEs over $1 lane, $2 types, $3 after, $4 origin, $5 wrapped, $6 limit, $7 visits,
 * $8 number of types, $9 the type whose own rotation it is, `''` for the shared one, $10 the time before which no
 * job is looked for. It reads `settings` and `types`.
 *
 * A stream is a type and a priority. `tenant_scan` walks, per stream, from tenant to tenant with due work through the index
 * background_job_due: one index probe per step, whatever the backlog, and one per {@link skip} jobs where none
 * is due. It starts behind `after`, wraps at the
 * end and stops at `origin`, or when it has met `limit` tenants with due work that may be claimed. `tenants`
 * are those up to the point that every stream has reached (`scan_end`), in tenant_scan order.
 *
 * @param isLimited Whether operators' limits are looked up, for which `settings` is {@link settingsCte}.
 */
export const rotationCtes = (isLimited: boolean): string => `
  -- The usual priority of every type, and the others that its jobs have, found step by step.
  streams AS (
    SELECT types.type, 0::smallint AS priority, false AS is_other FROM types
    UNION ALL
    SELECT streams.type, next.priority, true
    FROM streams
    CROSS JOIN LATERAL (
      SELECT job.priority
      FROM evenkeel.background_job AS job
      WHERE job.state = 'PENDING' AND job.priority <> 0 AND job.lane = $1::evenkeel.lane
        AND job.type = streams.type
        AND job.priority > CASE WHEN streams.is_other THEN streams.priority ELSE -32768 END
      ORDER BY job.priority
      LIMIT 1
    ) AS next
  ),
  rotation AS MATERIALIZED (
    SELECT admission.after, COALESCE($4::text, admission.after) AS origin
    FROM (
      SELECT COALESCE(
        $3::text,
        (
          SELECT after_tenant FROM evenkeel.background_job_rotation
          WHERE lane = $1::evenkeel.lane AND type = $9::text
        ),
        ''
      ) AS after
    ) AS admission
  ),
  tenant_scan AS (
    SELECT streams.type, streams.priority, rotation.after AS tenant_id, NULL::timestamptz AS head_run_at,
      $5::boolean AS wrapped, 0 AS visited, 0 AS due, false AS is_open, false AS is_full
    FROM streams CROSS JOIN rotation
    UNION ALL
    SELECT tenant_scan.type, tenant_scan.priority, next.tenant_id, next.run_at, next.wrapped, tenant_scan.visited + 1,
      tenant_scan.due + (next.is_due AND rule.is_open)::int, next.is_due AND rule.is_open,
      next.is_due AND rule.is_full
    FROM tenant_scan
    CROSS JOIN rotation
    ${isLimited ? "CROSS JOIN settings" : ""}
    -- The bound on a wrapped walk stands outside the LIMIT: inside, the scan would search on for a match.
    LEFT JOIN LATERAL ${nextTenant("job.tenant_id > tenant_scan.tenant_id")} AS ahead
      ON NOT tenant_scan.wrapped OR ahead.tenant_id <= rotation.origin
    LEFT JOIN LATERAL ${nextTenant(
      "ahead.tenant_id IS NULL AND NOT tenant_scan.wrapped AND job.tenant_id <= rotation.origin",
    )} AS behind ON true
    CROSS JOIN LATERAL (
      SELECT COALESCE(ahead.tenant_id, behind.tenant_id) AS tenant_id,
        COALESCE(ahead.run_at, behind.run_at) AS run_at,
        COALESCE(ahead.run_at, behind.run_at) <= now() AS is_due,
        tenant_scan.wrapped OR ahead.tenant_id IS NULL AS wrapped
    ) AS next
    ${isLimited ? rulesOfTenant : "CROSS JOIN (VALUES (true, false)) AS rule (is_open, is_full)"}
    WHERE next.tenant_id IS NOT NULL AND tenant_scan.due < $6::int AND tenant_scan.visited < $7::int
  ),
  scan_end AS MATERIALIZED (
    SELECT wrapped, tenant_id FROM tenant_scan
    WHERE due >= $6::int OR visited >= $7::int
    ORDER BY wrapped, tenant_id
    LIMIT 1
  ),
  candidates AS MATERIALIZED (
    SELECT tenant_scan.type, tenant_scan.priority, tenant_scan.tenant_id, tenant_scan.wrapped, tenant_scan.head_run_at FROM tenant_scan
    WHERE tenant_scan.is_open AND NOT EXISTS (
      SELECT FROM scan_end WHERE (scan_end.wrapped, scan_end.tenant_id) < (tenant_scan.wrapped, tenant_scan.tenant_id)
    )
  ),
  tenants AS MATERIALIZED (
    SELECT tenant_id, wrapped
    FROM (SELECT DISTINCT wrapped, tenant_id FROM candidates) AS due
    ORDER BY wrapped, tenant_id
    LIMIT $6::int
  )`;

// Without decisions about tenants nothing is looked up.
const rulesOfTenant = `LEFT JOIN LATERAL ${tenantLimits("next.tenant_id")} AS limits
      ON settings.has_tenants AND next.is_due
    CROSS JOIN LATERAL (
      SELECT
        limits.paused IS NOT TRUE AND COALESCE(limits.room > 0, true) AS is_open,
        limits.paused IS NOT TRUE AND limits.room <= 0 AS is_full
    ) AS rule`;

/** Where a walk that met no due work in one statement goes on in the next. */
export interface Resumption {
  readonly after: string;
  readonly origin: string;
  readonly wrapped: boolean;
}
