import { defineStatement, type Statement } from "../../database/statement.ts";
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

// The queue is paused: no row, and so no tenant. A type's row is locked before any tenant's: of claims at once that have
// locked a part of the rows each, none would get anything.
const settings = `settings AS MATERIALIZED ( -- What operators decided about the queue and the types asked for.
    SELECT CASE WHEN :cappedType = '' THEN :limit::int ELSE gate.size END AS size, ARRAY(
        SELECT asked.type FROM unnest(:types::text[]) AS asked (type)
        LEFT JOIN LATERAL evenkeel.room_of('TYPE', asked.type) AS rule ON true
        WHERE rule.paused IS NOT TRUE AND (rule.max_running IS NULL) = (:cappedType = '')
      ) AS types
    FROM (VALUES (1)) AS one LEFT JOIN LATERAL evenkeel.room_of('TYPE', :cappedType) AS own ON true
    LEFT JOIN LATERAL (
      SELECT LEAST(:limit::int, own.room) AS size FROM evenkeel.background_job_limit AS gate
      WHERE (gate.kind, gate.subject, gate.version) = ('TYPE', :cappedType, own.version)
        AND own.room > 0 FOR UPDATE SKIP LOCKED) AS gate ON true
    WHERE NOT EXISTS (SELECT FROM evenkeel.background_job_limit WHERE kind = 'QUEUE' AND paused)
  ),`;

// Between the scan and the allotments: what is decided about each tenant met, and the rows that say so, locked.
// A tenant that is new under a limit for every tenant has no row to lock yet: the host adds one and asks again.
const limits = `
  limited AS MATERIALIZED ( -- How many jobs each tenant may start now: NULL for any number.
    SELECT tenant_scan.*, own.version, own.paused, own.rate_period_ms, own.room
    FROM tenant_scan LEFT JOIN LATERAL evenkeel.room_of('TENANT', tenant_id) AS own ON true
    WHERE turn_at IS NOT NULL AND tenant_id <> ALL (:except)
  ),
  gates AS MATERIALIZED ( -- Locked where nothing was claimed under them since they were counted.
    SELECT 'TENANT'::evenkeel.job_limit_kind AS kind, tenant_id AS subject, rate_period_ms
    FROM limited CROSS JOIN settings CROSS JOIN LATERAL (
      SELECT FROM evenkeel.background_job_limit AS gate
      WHERE (gate.kind, gate.subject, gate.version) = ('TENANT', tenant_id, limited.version)
      FOR UPDATE SKIP LOCKED) AS gate WHERE room > 0 AND size > 0
    UNION ALL SELECT 'TYPE', :cappedType, NULL FROM settings WHERE size > 0 AND :cappedType <> ''
  ),`;

const unlimitedTenants = `
      SELECT bucket, tenant_id, NULL::int AS room, :limit::int AS size,
        row_number() OVER (ORDER BY place) AS nth, count(*) OVER () AS tenants
      FROM tenant_scan WHERE turn_at IS NOT NULL AND tenant_id <> ALL (:except)`;
const limitedTenants = `
      SELECT bucket, tenant_id, room, size,
        row_number() OVER (ORDER BY place) AS nth, count(*) OVER () AS tenants
      FROM limited CROSS JOIN settings
      WHERE size > 0
        AND (room IS NULL OR tenant_id IN (SELECT subject FROM gates WHERE kind = 'TENANT'))`;

// By arrays and not joins alone: they bound what is read, whatever the estimates say.
const stamped = `
  stamped AS ( -- What was taken under a limit changes its row: claims that counted before skip it.
    UPDATE evenkeel.background_job_limit AS gate
    SET version = gate.version + 1, updated_at = now(),
      spent = evenkeel.note_starts(gate.spent, gates.rate_period_ms, taken.jobs)
    FROM gates JOIN (
      SELECT 'TENANT'::evenkeel.job_limit_kind AS kind, tenant_id AS subject, count(*) AS jobs
      FROM (SELECT tenant_id FROM picked UNION ALL SELECT tenant_id FROM surplus) AS both_ways
      GROUP BY tenant_id
      UNION ALL SELECT 'TYPE', :cappedType, count(*) FROM picked HAVING count(*) > 0
    ) AS taken USING (kind, subject)
    WHERE gate.kind = gates.kind AND gate.subject = gates.subject
      AND gate.kind IN ('TYPE', 'TENANT') AND gate.subject = ANY (ARRAY(SELECT subject FROM gates))
  ),`;

const flags = `,
      (SELECT to_jsonb(rotation) FROM rotation) AS origin,
      (SELECT to_jsonb(last) FROM tenant_scan AS last
        ORDER BY place DESC, wrapped DESC LIMIT 1) AS "end",
      ARRAY(SELECT tenant_id FROM limited WHERE version IS NULL AND room > 0) AS "newTenants",
      ARRAY(SELECT subject FROM evenkeel.background_job_limit WHERE kind = 'TYPE'
        AND subject = ANY (:types) AND max_running IS NOT NULL AND NOT paused) AS "cappedTypes",
      EXISTS (SELECT FROM limited
        WHERE paused IS NOT TRUE AND (room IS NOT NULL OR :cappedType <> '')
          AND tenant_id NOT IN (SELECT tenant_id FROM allotments WHERE share > 0)) AS throttled`;

const capped = `,
      capped = :cappedType <> '' OR job.tenant_id IN (SELECT subject FROM gates WHERE kind = 'TENANT')`;

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
