import { createHash } from "node:crypto";

/** How many buckets there are: a tenant's is a whole number from 0 up to, and not including, this. */
export const bucketCount: number = 10_000;

/** Buckets `from` up to, and not including, `to`; both whole numbers from 0 to 10,000. */
export interface BucketRange {
  readonly from: number;
  readonly to: number;
}

/** Every bucket. */
export const allBuckets: BucketRange = { from: 0, to: bucketCount };

/**
 * Returns a tenant's bucket: the first 32 bits of the SHA-256 of its id in UTF-8, modulo 10,000. It never changes, so
 * that a range of buckets is the same tenants on every host. `evenkeel.bucket_of` in the database is the same.
 */
export function bucketOf(tenantId: string): number {
  return createHash("sha256").update(tenantId).digest().readUInt32BE(0) % bucketCount;
}
