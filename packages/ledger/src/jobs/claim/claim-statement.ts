import { defineStatement, type Statement } from "../../database/statement.ts";
import { countsYet, currentTenth, runningOfType, tenantLimits } from "../limits.ts";
import { claimedColumns } from "./claimed-row.ts";
import { available, tenantScanCte, type TenantScanParameter } from "./tenant-scan.ts";

/** The parameters of a claim: those of its scan, and its own. */
export type ClaimParameter =
  | TenantScanParameter
  | "lane"
  /** The tenant behind which the scan begins, and its bucket; `null`: where the rotation stands. */
  | "after"
  | "afterBucket"
  /** Whether the rotation moves to where this claim ends. */
  | "moves"
  /** Tenants that get nothing, as an array of texts. */
  | "except"
  /** Most jobs claimed. */
  | "limit"
  /** The type with a cap that is claimed by itself; `""`: the types without one. */
  | "cappedType"
  | "leaseMs"
  | "owner";

// Operators' limits, as far as they are no single tenant's. The queue is paused: no row.
const settings = `settings AS MATERIALIZED (
    SELECT every.max_running, every.rate_limit, every.rate_period_ms, capped.version AS type_version,
      LEAST(:limit::int, capped.max_running - ${runningOfType("capped.subject", "capped.max_running")}) AS size,
      ARRAY(
        SELECT asked.type FROM unnest(:types::text[]) AS asked (type)
        LEFT JOIN evenkeel.background_job_limit AS rule ON rule.kind = 'TYPE' AND rule.subject = asked.type
        WHERE rule.paused IS NOT TRUE AND (rule.max_running IS NULL) = (:cappedType = '')
      ) AS types
    FROM (VALUES (1)) AS one
    LEFT JOIN evenkeel.background_job_limit AS every ON every.kind = 'EVERY_TENANT'
    LEFT JOIN evenkeel.background_job_limit AS capped
      ON capped.kind = 'TYPE' AND capped.subject = :cappedType AND :cappedType <> ''
    WHERE NOT EXISTS (SELECT FROM evenkeel.background_job_limit WHERE kind = 'QUEUE' AND paused)
  ),`;

// Between the scan and the allotments: what is decided about each tenant met, and the rows that say so, locked.
const limits = `
  -- How many jobs each tenant may start now: NULL for any number. A tenant that is new under a limit for
  -- every tenant has no row to lock yet: the host adds one and asks again.
  limited AS MATERIALIZED (
    SELECT tenant_scan.*, own.version, own.rate_limit, own.rate_period_ms,
      CASE WHEN own.paused THEN 0 ELSE own.room END AS room, own.paused IS TRUE AS is_paused,
      own.version IS NULL AND COALESCE(settings.max_running, settings.rate_limit) IS NOT NULL AS is_new
    FROM tenant_scan CROSS JOIN settings
    LEFT JOIN LATERAL ${tenantLimits("tenant_scan.tenant_id")} AS own ON true
    WHERE turn_at IS NOT NULL AND tenant_id <> ALL (:except)
  ),
  -- Locked where nothing was claimed under them since they were counted: no two claims use the same room.
  gates AS MATERIALIZED (
    SELECT wanted.*
    FROM (
      SELECT 'TYPE'::evenkeel.job_limit_kind AS kind, :cappedType AS subject, type_version AS version,
        NULL::int AS rate_limit, NULL::int AS rate_period_ms FROM settings WHERE size > 0
      UNION ALL
      SELECT 'TENANT', tenant_id, version, rate_limit, rate_period_ms FROM limited WHERE room > 0
    ) AS wanted
    CROSS JOIN LATERAL (
      SELECT FROM evenkeel.background_job_limit AS gate
      WHERE gate.kind = wanted.kind AND gate.subject = wanted.subject AND gate.version = wanted.version
      FOR UPDATE SKIP LOCKED
    ) AS gate
  ),`;

const unlimitedTenants = `
      SELECT bucket, tenant_id, NULL::int AS room, :limit::int AS size,
        row_number() OVER (ORDER BY place) AS nth, count(*) OVER () AS tenants
      FROM tenant_scan WHERE turn_at IS NOT NULL AND tenant_id <> ALL (:except)`;
const limitedTenants = `
      SELECT bucket, tenant_id, room, size,
        row_number() OVER (ORDER BY place) AS nth, count(*) OVER () AS tenants
      FROM limited CROSS JOIN settings
      WHERE size > 0 AND NOT is_new
        AND (room IS NULL OR tenant_id IN (SELECT subject FROM gates WHERE kind = 'TENANT'))
        AND (:cappedType = '' OR EXISTS (SELECT FROM gates WHERE kind = 'TYPE'))`;

// What was taken under a limit changes its row: claims that counted before skip it.
const stamped = `
  stamped AS (
    UPDATE evenkeel.background_job_limit AS gate
    SET version = gate.version + 1, updated_at = now(),
      -- The starts of each tenth of the rate's period that still count, and these.
      spent = CASE WHEN gates.rate_limit IS NULL THEN '{}' ELSE (
        SELECT jsonb_object_agg(tenth, jobs) FROM (
          SELECT tenth, sum(jobs)::int AS jobs FROM (
            SELECT key::bigint AS tenth, value::int AS jobs FROM jsonb_each_text(gate.spent)
            UNION ALL SELECT ${currentTenth("gates.rate_period_ms")}, taken.jobs
          ) AS entry
          WHERE ${countsYet("tenth", "gates.rate_period_ms")} GROUP BY tenth
        ) AS spent
      ) END
    FROM gates JOIN (
      SELECT kind, CASE kind WHEN 'TYPE' THEN :cappedType ELSE tenant_id END AS subject, count(*)::int AS jobs
      FROM (SELECT tenant_id FROM picked UNION ALL SELECT tenant_id FROM surplus) AS both_ways
      CROSS JOIN (VALUES ('TYPE'::evenkeel.job_limit_kind), ('TENANT')) AS limits (kind)
      GROUP BY 1, 2
    ) AS taken USING (kind, subject)
    -- The arrays bound what is read, whatever the estimates say.
    WHERE gate.kind = gates.kind AND gate.subject = gates.subject
      AND gate.kind IN ('TYPE', 'TENANT') AND gate.subject = ANY (ARRAY(SELECT subject FROM gates))
  ),`;

const flags = `,
      (SELECT bucket FROM rotation) AS "originBucket", (SELECT tenant_id FROM rotation) AS origin,
      (SELECT to_jsonb(last) FROM (
        SELECT bucket, tenant_id AS "tenantId", wrapped, place < :maxTenants AS complete
        FROM tenant_scan ORDER BY place DESC, wrapped DESC LIMIT 1
      ) AS last) AS "end",
      ARRAY(SELECT tenant_id FROM limited WHERE is_new) AS "newTenants",
      ARRAY(SELECT subject FROM evenkeel.background_job_limit AS rule
        WHERE rule.kind = 'TYPE' AND rule.max_running IS NOT NULL AND NOT rule.paused
          AND rule.subject = ANY (:types)) AS "cappedTypes",
      EXISTS (SELECT FROM limited WHERE room <= 0 AND NOT is_paused OR room > 0
        AND tenant_id NOT IN (SELECT tenant_id FROM allotments))
        OR (:cappedType <> '' AND EXISTS (SELECT FROM limited)
          AND COALESCE((SELECT bool_or(size < tenants) FROM allotments), true)) AS throttled`;

const capped = `,
      capped = :cappedType <> '' OR job.tenant_id = ANY (ARRAY(SELECT subject FROM gates WHERE kind = 'TENANT'))`;

// Without limits a tenant's part of what others left over has no bound.
const bounded = (isLimited: boolean, select: string): string =>
  isLimited
    ? `SELECT * FROM (\n      ${select}\n    ) AS next LIMIT more`
    : `\n      ${select}\n    `;

/** A claim, as SQL. Without limits it claims nothing where there are some, and says so (`isLimited`). */
const statement = (isLimited: boolean): string => `
WITH RECURSIVE${isLimited ? `\n  ${settings}` : ""}
  rotation AS MATERIALIZED ( -- Behind which tenant to begin: where the caller is, or its lane.
    SELECT COALESCE(:afterBucket, shared.after_bucket, -1) AS bucket,
      COALESCE(:after, shared.after_tenant, '') COLLATE "C" AS tenant_id
    FROM (VALUES (1)) AS one LEFT JOIN evenkeel.background_job_rotation AS shared
      ON shared.lane = :lane AND shared.type = :cappedType${isLimited ? "" : "\n    WHERE NOT EXISTS (SELECT FROM evenkeel.background_job_limit)"}
  ),
  ${tenantScanCte(isLimited)},${isLimited ? limits : ""}
  allotments AS MATERIALIZED ( -- An even share per tenant; the odd jobs to those first in turn.
    SELECT *, LEAST(room, size / tenants + (nth <= size % tenants)::int) AS share,
      nth = COALESCE(NULLIF(size % tenants, 0), tenants) AS is_last
    FROM (${isLimited ? limitedTenants : unlimitedTenants}) AS met
  ),
  picked AS MATERIALIZED ( -- Each tenant's share, locked as it is read: the LIMIT stops that.
    SELECT bucket, tenant_id, nth, room, share, job.id, job.turn_at
    FROM allotments CROSS JOIN LATERAL (SELECT * FROM (
      SELECT job.id, job.turn_at FROM evenkeel.background_job AS job
      WHERE ${available(isLimited)}
        AND job.bucket = allotments.bucket AND job.tenant_id = allotments.tenant_id
      ORDER BY job.turn_at, job.id LIMIT :limit FOR UPDATE SKIP LOCKED
    ) AS oldest LIMIT share) AS job
  ),
  surplus AS MATERIALIZED ( -- What small tenants left over goes to those that have more.
    SELECT served.tenant_id, job.id FROM (
      SELECT bucket, tenant_id, room - share AS more, max(turn_at) AS turn_at,
        (array_agg(id ORDER BY turn_at DESC, id DESC))[1] AS id
      FROM picked GROUP BY bucket, tenant_id, nth, room, share HAVING count(*) = share ORDER BY nth
    ) AS served CROSS JOIN LATERAL (${bounded(
      isLimited,
      `SELECT job.id FROM evenkeel.background_job AS job
      WHERE ${available(isLimited)}
        AND job.bucket = served.bucket AND job.tenant_id = served.tenant_id
        AND (job.turn_at, job.id) > (served.turn_at, served.id)
      ORDER BY job.turn_at, job.id LIMIT :limit FOR UPDATE SKIP LOCKED`,
    )}) AS job
    LIMIT (SELECT max(size) FROM allotments) - (SELECT count(*) FROM picked)
  ),
  claimed AS ( -- By an array of ids and not a join: an index scan whatever the estimates say.
    UPDATE evenkeel.background_job AS job
    SET state = 'RUNNING', fence = job.fence + 1, lane = :lane, owner = :owner, progress = NULL,
      lease_expires_at = now() + :leaseMs * interval '1 millisecond'${isLimited ? capped : ""}
    WHERE job.id = ANY (ARRAY(SELECT id FROM picked UNION ALL SELECT id FROM surplus))
    RETURNING ${claimedColumns}
  ),${isLimited ? stamped : ""}
  walk AS MATERIALIZED ( -- What the next claim is to know.
    SELECT (SELECT tenant_id FROM allotments WHERE is_last) AS "lastTenant", (
        SELECT CASE WHEN max(place) < :maxTenants THEN LEAST(min(turn_at), now())::text END FROM tenant_scan
      ) AS watermark, EXISTS (SELECT FROM evenkeel.background_job_limit) AS "isLimited"${isLimited ? flags : ""}
  ),
  moved AS ( -- The lane's next claim begins behind the tenant that this one ended with.
    INSERT INTO evenkeel.background_job_rotation (lane, type, after_bucket, after_tenant)
    SELECT :lane, :cappedType, bucket, tenant_id FROM allotments WHERE is_last AND :moves::boolean
    ON CONFLICT (lane, type) DO UPDATE SET (after_bucket, after_tenant, updated_at) =
      (EXCLUDED.after_bucket, EXCLUDED.after_tenant, now())
  )
SELECT to_jsonb(walk) AS walk, claimed.* FROM walk LEFT JOIN claimed ON false
UNION ALL SELECT NULL, claimed.* FROM claimed`;

/** A claim where operators decided something; see {@link unlimitedClaimStatement} for where they did not. */
export const limitedClaimStatement: Statement<ClaimParameter> = defineStatement(statement(true));

/** A claim as long as there are no limits; where there are, it claims nothing and says so (`isLimited`). */
export const unlimitedClaimStatement: Statement<ClaimParameter> = defineStatement(statement(false));
