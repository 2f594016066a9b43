/*
 * How a claim chooses among tenants. Each lane has one rotation, and each type with a cap one of its own: it keeps the
 * tenant that was served last. A claim continues behind that tenant, from one tenant with available work to the next by a
 * skip scan over the index, in the order of bucket and id, and after the last tenant from the first again. It stops when
 * it has met as many tenants as it may take jobs. They share the batch evenly; what small tenants leave over goes to those
 * that have more (`claim-statement.ts`). So a tenant with one due job waits for a bounded number of claims, whatever
 * others queued.
 */

/** The parameters of {@link tenantScanCte}, and of every statement made of it. */
export type TenantScanParameter =
  /** The buckets of the lane: from one up to another. */
  | "firstBucket"
  | "lastBucket"
  /** The asked types, as an array of texts. */
  | "types"
  /** The newest version that is known of a type, by type, as a JSON object. A type that is not in it: any. */
  | "versions"
  /** The time before which no job has its turn; `"-infinity"`: a full look. */
  | "watermark"
  /** Whether a look in several statements has passed the last tenant already. */
  | "wrapped"
  /** Most tenants met. */
  | "maxTenants";

/**
 * What may be claimed, of one tenant or of all: a condition on `job` that the index background_job_available serves.
 *
 * @param isLimited Whether the types are those of the CTE `settings`.
 */
export const available = (
  isLimited: boolean,
): string => `job.state = 'PENDING' AND job.bucket BETWEEN :firstBucket AND :lastBucket
        AND job.type = ANY (${isLimited ? "(SELECT types FROM settings)::text[]" : ":types"}) AND job.turn_at >= :watermark
        AND job.version <= COALESCE((:versions::jsonb ->> job.type)::int, job.version)`;

/**
 * The tenants with available work behind the position of `rotation`, in the order of the scan, as a CTE: one look at the index
 * for each. `rotation` has one row or none: where to begin, and where to stop after the last tenant.
 *
 * @param isLimited As for {@link available}; without a row of `settings` there are none.
 */
export const tenantScanCte = (
  isLimited: boolean,
): string => `-- From tenant to tenant with available work: to the last, and then from the first on.
  tenant_scan AS (
    SELECT bucket, tenant_id, NULL::timestamptz AS turn_at, :wrapped::boolean AS wrapped, 0 AS place
    FROM rotation${isLimited ? " CROSS JOIN settings" : ""}
    UNION ALL
    SELECT next.*, tenant_scan.place + 1
    FROM tenant_scan CROSS JOIN rotation CROSS JOIN LATERAL (
      (SELECT job.bucket, job.tenant_id, job.turn_at, tenant_scan.wrapped FROM evenkeel.background_job AS job
      WHERE ${available(isLimited)}
        AND (job.bucket, job.tenant_id) > (tenant_scan.bucket, tenant_scan.tenant_id)
      ORDER BY job.bucket, job.tenant_id, job.turn_at LIMIT 1)
      UNION ALL
      (SELECT job.bucket, job.tenant_id, job.turn_at, true FROM evenkeel.background_job AS job
      WHERE ${available(isLimited)}
        AND NOT tenant_scan.wrapped AND (job.bucket, job.tenant_id) <= (stop_bucket, stop_tenant)
      ORDER BY job.bucket, job.tenant_id, job.turn_at LIMIT 1)
      LIMIT 1
    ) AS next
    WHERE tenant_scan.place < :maxTenants
      AND NOT (next.wrapped AND (next.bucket, next.tenant_id) > (stop_bucket, stop_tenant))
  )`;
