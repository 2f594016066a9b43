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
  /** The newest version that is known of each of them, as an array of numbers: {@link knownVersions}. */
  | "versions"
  /** The time before which no job has its turn; `"-infinity"`: a full look. */
  | "watermark"
  /** Where a scan in several statements continues, and whether it has passed the last tenant; `null`: at its beginning. */
  | "from"
  | "fromBucket"
  | "wrapped"
  /** Most tenants met. */
  | "maxTenants";

/** Where a host runs a job of any version. */
const anyVersion = 2 ** 31 - 1;

/** Returns the parameter `versions`: the newest version that is known of each type, in their order. */
export function knownVersions(
  types: readonly string[],
  versions: Readonly<Record<string, number>> = {},
): string {
  return `{${types.map((type) => versions[type] ?? anyVersion).join(",")}}`;
}

/**
 * What may be claimed of a tenant: a condition on `job` that the index background_job_available serves.
 *
 * @param isLimited Whether the types are those of the CTE `settings`.
 */
export const available = (isLimited: boolean): string => {
  const types = isLimited ? "(SELECT types FROM settings)::text[]" : ":types::text[]";
  return `job.state = 'PENDING' AND job.type = ANY (${types})
        AND job.turn_at >= :watermark AND job.version <= (:versions::int[])[array_position(:types::text[], job.type)]`;
};

/**
 * The tenants with available work, in the order of the scan, as a CTE: one look at the index for each. `rotation` has one row or
 * none: the tenant behind which the scan begins, and ends after the last tenant. A row without a turn is no tenant, but
 * where the scan begins and where it wraps.
 *
 * @param isLimited As for {@link available}; without a row of `settings` there are none.
 */
export const tenantScanCte = (
  isLimited: boolean,
): string => `tenant_scan AS ( -- From tenant to tenant with available work, after the last from the first.
    SELECT COALESCE(:fromBucket, bucket) AS bucket, COALESCE(:from, tenant_id) COLLATE "C" AS tenant_id,
      NULL::timestamptz AS turn_at, :wrapped::boolean AS wrapped, 0 AS place FROM rotation${isLimited ? ", settings" : ""}
    UNION ALL
    SELECT COALESCE(next.bucket, -1), COALESCE(next.tenant_id, ''), next.turn_at,
      wrapped OR next.turn_at IS NULL, place + (next.turn_at IS NOT NULL)::int
    FROM tenant_scan CROSS JOIN rotation AS start LEFT JOIN LATERAL (
      SELECT job.bucket::int, job.tenant_id, job.turn_at FROM evenkeel.background_job AS job
      WHERE ${available(isLimited)}
        AND job.bucket BETWEEN :firstBucket AND :lastBucket
        AND (job.bucket, job.tenant_id) > (tenant_scan.bucket, tenant_scan.tenant_id)
      ORDER BY job.bucket, job.tenant_id, job.turn_at LIMIT 1
    ) AS next ON NOT wrapped OR (next.bucket, next.tenant_id) <= (start.bucket, start.tenant_id)
    WHERE place < :maxTenants AND NOT (wrapped AND next.turn_at IS NULL)
  )`;
