import type { ClaimRequest, NewJob } from "../jobs/job.ts";

/** Returns a job of a type, of tenant `t`, with three attempts. */
export function newJob(type: string, change: Partial<NewJob> = {}): NewJob {
  const job = { tenantId: "t", version: 1, payloadText: '{"n":1}', maxAttempts: 3 } as const;
  return { ...job, type, ...change };
}

/** Returns a request for jobs of these types in the lane `stable`, for 30 s. */
export function claimRequest(
  types: readonly string[],
  limit: number,
  change: Partial<ClaimRequest> = {},
): ClaimRequest {
  return { lane: "stable", leaseMs: 30_000, owner: "o", types, limit, ...change };
}
