import { tenantLimits } from "../limits.ts";

/*
 * How a claim chooses among tenants. Each lane has one rotation, and each type with a cap one of its own: it keeps the
 * tenant that was served last. A claim continues behind that tenant, from one tenant with due work to the next by a skip
 * scan over the index, and after the last tenant from the first again. It stops when it has met as many tenants as it
 * may take jobs. They share the batch evenly; what small tenants leave over goes to those that have more
 * (`claim-statement.ts`). So a tenant with one due job waits for a bounded number of claims, whatever others queued.
 */

/** Most tenants that one statement visits, per stream. */
export const maxVisits: number = 2_000;

/** Most jobs that one step of the tenant scan passes, as long as it meets nothing but work that is not due. */
const skip = 16;

/**
 * One step of a stream: the next tenant with due work, and when its oldest is due. Where none of the next jobs is
 * due it goes a skip further, so that thousands of tenants with nothing but scheduled work are soon passed.
 */
const nextTenant = (which: string): string => `(
      SELECT next.tenant_id, next.run_at
      FROM (
        SELECT job.tenant_id, job.run_at,
          row_number() OVER (ORDER BY job.tenant_id, job.run_at, job.id) AS step
        FROM evenkeel.background_job AS job
        WHERE job.state = 'PENDING' AND job.lane = :lane::evenkeel.lane AND job.type = tenant_scan.type
          AND job.priority = tenant_scan.priority AND ${which}
          AND job.run_at >= :watermark::timestamptz
        ORDER BY job.tenant_id, job.run_at, job.id
        LIMIT ${skip}
      ) AS next
      WHERE next.run_at <= now() OR next.step = ${skip}
      LIMIT 1
    )`;

/** The parameters of {@link rotationCtes}, of `openTypesCte` and of every statement made of them. */
export type RotationParameter =
  | "lane"
  /** The asked types, as a JSON list of texts. */
  | "types"
  /** How many types are asked for. */
  | "typeCount"
  /** The tenant behind which to begin; `null`: where the rotation of `cappedType` stands. */
  | "after"
  /** The tenant at which a scan in several statements began; `null` in the first of them. */
  | "origin"
  /** Whether a scan in several statements has passed the last tenant already. */
  | "wrapped"
  /** Most tenants with due work that the scan meets. */
  | "limit"
  /** Most tenants that the scan visits, per stream: see {@link maxVisits}. */
  | "maxVisits"
  /** The type whose own rotation it is; `""`: the rotation that all types without a cap share. */
  | "cappedType"
  /** The time before which no job is looked for; `"-infinity"`: a full scan. */
  | "watermark";

/**
 * The rotation over the tenants, as CTEs. It reads `settings` and `types`.
 *
 * A stream is a type and a priority. `tenant_scan` goes, per stream, from tenant to tenant with due work through the
 * index background_job_due: one index probe per step, whatever the backlog, and one per {@link skip} jobs where none
 * is due. It begins behind `after`, wraps at the end, and stops at `origin` or when it has met `limit` tenants with
 * due work that may be claimed. `tenants` are those up to the point that every stream has reached (`scan_end`), in
 * the order of the scan.
 *
 * @param isLimited Whether operators' limits are looked up, for which `settings` is `settingsCte`.
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
      WHERE job.state = 'PENDING' AND job.priority <> 0 AND job.lane = :lane::evenkeel.lane
        AND job.type = streams.type
        AND job.priority > CASE WHEN streams.is_other THEN streams.priority ELSE -32768 END
      ORDER BY job.priority
      LIMIT 1
    ) AS next
  ),
  rotation AS MATERIALIZED (
    SELECT admission.after, COALESCE(:origin::text, admission.after) AS origin
    FROM (
      SELECT COALESCE(
        :after::text,
        (
          SELECT after_tenant FROM evenkeel.background_job_rotation
          WHERE lane = :lane::evenkeel.lane AND type = :cappedType::text
        ),
        ''
      ) AS after
    ) AS admission
  ),
  tenant_scan AS (
    SELECT streams.type, streams.priority, rotation.after AS tenant_id, NULL::timestamptz AS head_run_at,
      :wrapped::boolean AS wrapped, 0 AS visited, 0 AS due, false AS is_open, false AS is_full
    FROM streams CROSS JOIN rotation
    UNION ALL
    SELECT tenant_scan.type, tenant_scan.priority, next.tenant_id, next.run_at, next.wrapped, tenant_scan.visited + 1,
      tenant_scan.due + (next.is_due AND rule.is_open)::int, next.is_due AND rule.is_open,
      next.is_due AND rule.is_full
    FROM tenant_scan
    CROSS JOIN rotation
    ${isLimited ? "CROSS JOIN settings" : ""}
    -- The bound on a wrapped scan stands outside the LIMIT: inside, the scan would search on for a match.
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
    WHERE next.tenant_id IS NOT NULL AND tenant_scan.due < :limit::int AND tenant_scan.visited < :maxVisits::int
  ),
  scan_end AS MATERIALIZED (
    SELECT wrapped, tenant_id FROM tenant_scan
    WHERE due >= :limit::int OR visited >= :maxVisits::int
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
    LIMIT :limit::int
  )`;

// Without decisions about tenants nothing is looked up.
const rulesOfTenant = `LEFT JOIN LATERAL ${tenantLimits("next.tenant_id")} AS limits
      ON settings.has_tenants AND next.is_due
    CROSS JOIN LATERAL (
      SELECT
        limits.paused IS NOT TRUE AND COALESCE(limits.room > 0, true) AS is_open,
        limits.paused IS NOT TRUE AND limits.room <= 0 AS is_full
    ) AS rule`;

/** Where a scan that met no due work in one statement continues in the next. */
export interface Resumption {
  readonly after: string;
  readonly origin: string;
  readonly wrapped: boolean;
}
