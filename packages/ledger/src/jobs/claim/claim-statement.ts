import { defineStatement, type Statement } from "../../database/statement.ts";
import {
  countsYet,
  currentTenth,
  notPaused,
  openTypesCte,
  priorityStep,
  runningOfType,
  settingsCte,
  tenantLimits,
} from "../limits.ts";
import { claimedColumns } from "./claimed-row.ts";
import { rotationCtes, type RotationParameter } from "./tenant-rotation.ts";

/** How much further back than the earliest lease claims look for leases that expired: for those written late. */
const leaseMargin = "interval '5 seconds'";

// What a claim does under operators' limits, and what it does as long as there are none: the one is as short as
// the other is long, and planning it costs half as much.
const limitedTypes = `${settingsCte},
  ${openTypesCte},
  types AS MATERIALIZED (
    SELECT type, version FROM open_types WHERE (max_running IS NULL) = (:cappedType::text = '')
  )`;
const unlimitedTypes = `settings AS MATERIALIZED (
    SELECT EXISTS (SELECT FROM evenkeel.background_job_limit) AS is_limited
  ),
  types AS MATERIALIZED (
    -- The LIMIT changes nothing but the estimate: 100 types would be assumed, and the plan compiled (JIT).
    SELECT asked.type
    FROM (SELECT jsonb_array_elements_text(:types::jsonb) AS type LIMIT :typeCount::int) AS asked CROSS JOIN settings
    WHERE NOT settings.is_limited
  )`;

const typeGate = `type_gate AS MATERIALIZED (
    SELECT gate.max_running - ${runningOfType("gate.subject", "gate.max_running")} AS room
    FROM types
    JOIN evenkeel.background_job_limit AS gate ON gate.kind = 'TYPE' AND gate.subject = types.type
    WHERE :cappedType::text <> '' AND gate.version = types.version
    FOR UPDATE OF gate SKIP LOCKED
  ),`;

const limitedAdmitted = `limited AS MATERIALIZED (
    SELECT tenants.*, limits.version, limits.is_limited, limits.rate_limit, limits.rate_period_ms, limits.room
    FROM tenants
    CROSS JOIN settings
    LEFT JOIN LATERAL ${tenantLimits("tenants.tenant_id")} AS limits ON settings.has_tenants
  ),
  gates AS MATERIALIZED (
    SELECT limited.tenant_id, limited.rate_limit, limited.rate_period_ms
    FROM limited
    -- A probe per tenant of the batch, whatever the estimates say of the number of tenants with limits.
    CROSS JOIN LATERAL (
      SELECT FROM evenkeel.background_job_limit AS gate
      WHERE gate.kind = 'TENANT' AND gate.subject = limited.tenant_id AND gate.version = limited.version
      FOR UPDATE SKIP LOCKED
    ) AS gate
    WHERE limited.is_limited
      -- A claim that may take nothing of its type stands in the way of no other.
      AND (:cappedType::text = '' OR (SELECT room FROM type_gate) > 0)
  ),
  -- A tenant met for the first time under a limit for every tenant: the next claim has a row to lock.
  introduced AS (
    INSERT INTO evenkeel.background_job_limit (kind, subject)
    SELECT 'TENANT', limited.tenant_id
    FROM limited CROSS JOIN settings
    WHERE limited.version IS NULL AND settings.limits_every
    ORDER BY limited.tenant_id
    ON CONFLICT (kind, subject) DO NOTHING
    RETURNING subject
  ),
  admitted AS MATERIALIZED (
    SELECT limited.tenant_id, limited.room,
      row_number() OVER (ORDER BY limited.wrapped, limited.tenant_id)::int AS place
    FROM limited
    CROSS JOIN settings
    LEFT JOIN gates USING (tenant_id)
    WHERE gates.tenant_id IS NOT NULL OR limited.is_limited IS FALSE
      OR (limited.version IS NULL AND NOT settings.limits_every)
  )`;
const admitted = `admitted AS MATERIALIZED (
    SELECT tenant_id, NULL::int AS room, row_number() OVER (ORDER BY wrapped, tenant_id)::int AS place
    FROM tenants
  )`;

const limitedSize = `GREATEST(0, LEAST(
        :limit::int - (SELECT count(*) FROM expired)::int,
        CASE WHEN :cappedType::text <> '' THEN COALESCE((SELECT room FROM type_gate), 0) END
      ))`;

const isCapped = `CASE WHEN job.state = 'RUNNING' THEN job.capped
        ELSE :cappedType::text <> '' OR job.tenant_id = ANY (ARRAY(SELECT tenant_id FROM gates)) END`;

const stamps = `-- What was taken under a limit changes its row: claims that counted before skip it.
  tenants_stamped AS (
    UPDATE evenkeel.background_job_limit AS gate
    SET version = gate.version + 1,
      updated_at = now(),
      spent = CASE WHEN gates.rate_limit IS NULL THEN '{}' ELSE (
        SELECT jsonb_object_agg(spent.tenth, spent.jobs)
        FROM (
          SELECT entry.tenth, sum(entry.jobs)::int AS jobs
          FROM (
            SELECT key::bigint, value::int FROM jsonb_each_text(gate.spent)
            UNION ALL
            SELECT ${currentTenth("gates.rate_period_ms")}, taken.jobs
          ) AS entry (tenth, jobs)
          WHERE ${countsYet("entry.tenth", "gates.rate_period_ms")}
          GROUP BY entry.tenth
        ) AS spent
      ) END
    FROM gates JOIN taken USING (tenant_id)
    -- The array bounds what is read, whatever the estimates say.
    WHERE gate.kind = 'TENANT' AND gate.subject = gates.tenant_id
      AND gate.subject = ANY (ARRAY(SELECT tenant_id FROM taken))
  ),
  type_stamped AS (
    UPDATE evenkeel.background_job_limit
    SET version = version + 1, updated_at = now()
    WHERE kind = 'TYPE' AND subject = :cappedType::text AND EXISTS (SELECT FROM taken)
  ),`;

const limitedFlags = `EXISTS (SELECT FROM evenkeel.background_job_limit) AS "isLimited",
      EXISTS (SELECT FROM introduced) AS introduced,
      EXISTS (SELECT FROM tenant_scan WHERE is_full)
        OR allotment.tenants < (SELECT count(*) FROM limited)
        OR (:cappedType::text <> '' AND allotment.tenants > allotment.size) AS "throttled",
      ARRAY(SELECT type FROM open_types WHERE max_running IS NOT NULL) AS "cappedTypes"`;
const flags = `(SELECT is_limited FROM settings) AS "isLimited", false AS introduced, false AS "throttled",
      ARRAY[]::text[] AS "cappedTypes"`;

/** The parameters of a claim: those of its rotation, and its own. */
export type ClaimParameter =
  | RotationParameter
  | "leaseMs"
  | "owner"
  /** Of a batch of one job: 1 if an expired lease goes first, 0 if what waits does. 1 for every larger batch. */
  | "expiredFirst"
  /** The time before which no lease ends; `"-infinity"`: not known. */
  | "leaseWatermark";

// What expired, locked.
const expired = (
  isLimited: boolean,
): string => `-- SKIP LOCKED throughout: concurrent claims never wait for each other, nor take the same job.
  -- Ranked by tenant, so that the many of one tenant do not delay the one of another; the ranking looks at
  -- the 1,000 that expired first. What expired counts as running already: no cap stands in its way.
  expired AS MATERIALIZED (
    SELECT job.id
    FROM (
      SELECT first.id
      FROM (
        SELECT job.id, job.tenant_id, job.lease_expires_at
        FROM evenkeel.background_job AS job
        WHERE job.state = 'RUNNING' AND job.lane = :lane::evenkeel.lane
          -- A watermark that is later than now, as when the clock was set back, does not count.
          AND job.lease_expires_at BETWEEN CASE WHEN :leaseWatermark::timestamptz <= now() - ${leaseMargin} THEN :leaseWatermark::timestamptz
            ELSE '-infinity' END AND now()
          AND job.type = ANY (ARRAY(SELECT type FROM types)) ${isLimited ? `AND ${notPaused("job.tenant_id")}` : ""}
        ORDER BY job.lease_expires_at
        LIMIT GREATEST(1000, :limit::int)
      ) AS first
      ORDER BY
        row_number() OVER (PARTITION BY first.tenant_id ORDER BY first.lease_expires_at, first.id),
        first.lease_expires_at
    ) AS ranked
    CROSS JOIN LATERAL (
      SELECT job.id
      FROM evenkeel.background_job AS job
      WHERE job.id = ranked.id AND job.state = 'RUNNING' AND job.lease_expires_at <= now()
      FOR UPDATE SKIP LOCKED
    ) AS job
    LIMIT (:limit::int + :expiredFirst::int) / 2
  )`;

// The shares of the admitted tenants, and the jobs picked and locked for them.
const batch = `streams_of_admitted AS MATERIALIZED (
    SELECT candidates.type, candidates.priority, candidates.tenant_id, admitted.place, admitted.room,
      LEAST(admitted.room, allotment.size / allotment.tenants + (admitted.place <= allotment.size % allotment.tenants)::int) AS share,
      count(*) OVER (PARTITION BY candidates.tenant_id)::int AS streams,
      row_number() OVER (
        PARTITION BY candidates.tenant_id ORDER BY candidates.head_run_at - candidates.priority * ${priorityStep}, candidates.type
      )::int AS turn
    FROM candidates JOIN admitted USING (tenant_id) CROSS JOIN allotment
  ),
  -- How the share of a tenant falls to its streams, by the order of their jobs.
  mixed AS MATERIALIZED (
    SELECT type, priority, tenant_id, count(*)::int AS jobs
    FROM (
      SELECT stream.type, stream.priority, stream.tenant_id, stream.share,
        row_number() OVER (
          PARTITION BY stream.tenant_id ORDER BY job.run_at - stream.priority * ${priorityStep}, job.id
        ) AS turn
      FROM streams_of_admitted AS stream
      CROSS JOIN LATERAL (
        SELECT oldest.id, oldest.run_at
        FROM (
          SELECT job.id, job.run_at
          FROM evenkeel.background_job AS job
          WHERE job.state = 'PENDING' AND job.lane = :lane::evenkeel.lane AND job.type = stream.type
            AND job.priority = stream.priority AND job.tenant_id = stream.tenant_id AND job.run_at BETWEEN :watermark::timestamptz AND now()
          ORDER BY job.run_at, job.id
          LIMIT :limit::int
        ) AS oldest
        LIMIT stream.share
      ) AS job
      WHERE stream.streams > 1
    ) AS merged
    WHERE turn <= share
    GROUP BY type, priority, tenant_id
  ),
  shares AS MATERIALIZED (
    SELECT stream.type, stream.priority, stream.tenant_id, stream.place, stream.turn,
      CASE WHEN stream.streams = 1 THEN stream.share ELSE COALESCE(mixed.jobs, 0) END AS share,
      -- What a limited tenant may have beyond its share: from its first stream alone, so that it is not had twice.
      CASE WHEN stream.room IS NULL THEN :limit::int WHEN stream.turn = 1 THEN stream.room - stream.share ELSE 0 END
        AS surplus
    FROM streams_of_admitted AS stream
    LEFT JOIN mixed USING (type, priority, tenant_id)
    ORDER BY stream.place, stream.turn
  ),
  -- Here and in overflow, rows are locked as they are read and the outer LIMIT stops the reading: no row is
  -- locked beyond those claimed. The inner LIMIT, of a known size, keeps the estimates near the truth.
  picked AS MATERIALIZED (
    SELECT shares.type, shares.priority, shares.tenant_id, job.id, job.run_at
    FROM shares
    CROSS JOIN LATERAL (
      SELECT oldest.id, oldest.run_at
      FROM (
        SELECT job.id, job.run_at
        FROM evenkeel.background_job AS job
        WHERE job.state = 'PENDING' AND job.lane = :lane::evenkeel.lane AND job.type = shares.type
          AND job.priority = shares.priority AND job.tenant_id = shares.tenant_id AND job.run_at BETWEEN :watermark::timestamptz AND now()
        ORDER BY job.run_at, job.id
        LIMIT :limit::int
        FOR UPDATE SKIP LOCKED
      ) AS oldest
      LIMIT shares.share
    ) AS job
  ),
  served AS MATERIALIZED (
    SELECT type, priority, tenant_id, count(*)::int AS jobs, max(run_at) AS run_at,
      (array_agg(id ORDER BY run_at DESC, id DESC))[1] AS id
    FROM picked
    GROUP BY type, priority, tenant_id
  ),
  room AS MATERIALIZED (
    SELECT allotment.size - (SELECT count(*) FROM picked)::int AS jobs FROM allotment
  ),
  overflow AS MATERIALIZED (
    SELECT shares.tenant_id, job.id
    FROM shares
    LEFT JOIN served USING (type, priority, tenant_id)
    CROSS JOIN LATERAL (
      SELECT next.id
      FROM (
        SELECT job.id
        FROM evenkeel.background_job AS job
        WHERE job.state = 'PENDING' AND job.lane = :lane::evenkeel.lane AND job.type = shares.type
          AND job.priority = shares.priority AND job.tenant_id = shares.tenant_id AND job.run_at BETWEEN :watermark::timestamptz AND now()
          AND (job.run_at, job.id) > (COALESCE(served.run_at, '-infinity'), COALESCE(served.id, 0))
        ORDER BY job.run_at, job.id
        LIMIT :limit::int
        FOR UPDATE SKIP LOCKED
      ) AS next
      LIMIT shares.surplus
    ) AS job
    WHERE COALESCE(served.jobs, 0) = shares.share
    LIMIT (SELECT jobs FROM room)
  ),
  taken AS MATERIALIZED (
    SELECT tenant_id, count(*)::int AS jobs
    FROM (SELECT tenant_id FROM picked UNION ALL SELECT tenant_id FROM overflow) AS both_ways
    GROUP BY tenant_id
  )`;

const claimed = (isLimited: boolean): string => `claimed AS (
    UPDATE evenkeel.background_job AS job
    SET state = 'RUNNING',
      attempt = job.attempt + 1,
      progress = NULL,
      fence = job.fence + 1,
      owner = :owner::text,
      lease_expires_at = now() + :leaseMs::int * interval '1 millisecond',
      -- The right-hand sides see the row as it was: RUNNING here means that the last worker died.
      capped = ${isLimited ? isCapped : "false"},
      crashes = GREATEST(job.crashes, (job.state = 'RUNNING')::int),
      errors = CASE WHEN job.state = 'RUNNING' THEN
        CASE WHEN jsonb_array_length(job.errors) >= 20 THEN job.errors - 0 ELSE job.errors END
          || jsonb_build_object(
            'attempt', job.attempt,
            'at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
            'code', 'lease_expired',
            'message', 'The worker ' || job.owner || ' stopped renewing its lease.'
          )
        ELSE job.errors END
    -- An array of ids and not a join: its plan stays an index scan whatever the estimates say.
    WHERE job.id = ANY (ARRAY(
      SELECT id FROM expired UNION ALL SELECT id FROM picked UNION ALL SELECT id FROM overflow
    ))
    RETURNING ${claimedColumns}
  )`;

// Where the scan ended, and what it met: see `TenantScan`.
const progress = (isLimited: boolean): string => `progress AS MATERIALIZED (
    SELECT
      NOT EXISTS (SELECT FROM scan_end) AS complete,
      CASE
        WHEN allotment.size < allotment.tenants OR allotment.tenants >= :limit::int OR NOT EXISTS (SELECT FROM scan_end)
          THEN (
            SELECT tenant_id FROM admitted
            WHERE allotment.size > 0 AND place = COALESCE(NULLIF(allotment.size % NULLIF(allotment.tenants, 0), 0), allotment.tenants)
          )
        ELSE (SELECT tenant_id FROM scan_end)
      END AS "lastTenant",
      (SELECT wrapped FROM scan_end) AS wrapped,
      (SELECT origin FROM rotation) AS origin,
      -- After a scan of all tenants: what waits is due no earlier.
      CASE WHEN NOT EXISTS (SELECT FROM scan_end) THEN (
        SELECT LEAST(min(head_run_at), now())::text FROM tenant_scan WHERE is_open OR head_run_at > now()
      ) END AS watermark,
      -- Leases end later than they begin: none will come to end before this, but for one written late.
      CASE WHEN :leaseWatermark::timestamptz = '-infinity' THEN (
        LEAST((
          SELECT job.lease_expires_at FROM evenkeel.background_job AS job
          WHERE job.state = 'RUNNING' AND job.lane = :lane::evenkeel.lane
          ORDER BY job.lease_expires_at
          LIMIT 1
        ), now()) - ${leaseMargin}
      )::text END AS "leaseWatermark",
      ${isLimited ? limitedFlags : flags}
    FROM allotment
  )`;

/**
 * Claims a batch in one statement: of the types without a cap, or of one type with a cap (`cappedType`).
 *
 * Expired leases come first, for at most half of the batch, rounded up, and in turn over their tenants; of a batch of
 * one, `expiredFirst` says whether. The rest is allotted evenly: every due tenant met gets its share. The remainder
 * goes to the tenants first in turn, and the rotation continues behind them. Within a tenant, what is due longest goes
 * first, where each level of priority counts as ten minutes of waiting: priority helps at once, and nothing waits
 * behind it for ever. What small tenants leave over (`overflow`) goes to whoever has more. So a tenant with work waits
 * for at most (due tenants / limit) claims, rounded up.
 */
const statement = (isLimited: boolean): string => `
WITH RECURSIVE
  ${isLimited ? limitedTypes : unlimitedTypes},
  ${expired(isLimited)},
  ${isLimited ? typeGate : ""}
  ${rotationCtes(isLimited)},
  ${isLimited ? limitedAdmitted : admitted},
  allotment AS MATERIALIZED (
    SELECT ${isLimited ? limitedSize : ":limit::int - (SELECT count(*) FROM expired)::int"} AS size,
      count(*)::int AS tenants
    FROM admitted
  ),
  ${batch},
  ${claimed(isLimited)},
  ${isLimited ? stamps : ""}
  ${progress(isLimited)},
  moved AS (
    INSERT INTO evenkeel.background_job_rotation (lane, type, after_tenant)
    SELECT :lane::evenkeel.lane, :cappedType::text, progress."lastTenant"
    FROM progress
    WHERE :after::text IS NULL AND progress."lastTenant" IS NOT NULL
    ON CONFLICT (lane, type) DO UPDATE SET after_tenant = EXCLUDED.after_tenant, updated_at = now()
  )
SELECT to_jsonb(progress) AS scan, claimed.* FROM progress LEFT JOIN claimed ON false
UNION ALL
SELECT NULL, claimed.* FROM claimed`;

/** A claim where operators decided something; see {@link unlimitedClaimStatement} for where they did not. */
export const limitedClaimStatement: Statement<ClaimParameter> = defineStatement(statement(true));

/** A claim as long as there are no limits; where there are, it claims nothing and says so (`isLimited`). */
export const unlimitedClaimStatement: Statement<ClaimParameter> = defineStatement(statement(false));
