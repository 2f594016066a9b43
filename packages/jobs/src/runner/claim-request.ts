import { DeadlineExceededError, withDeadline, type Clock, type Logger } from "@evenkeel/core";
import type { ClaimRequest, ClaimResult, JobStore } from "@evenkeel/ledger";

import { describeError } from "../definition/error-description.ts";
import { JobError } from "../job-error.ts";

interface ClaimDeps {
  readonly jobs: Pick<JobStore, "claim" | "settle">;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Claims jobs, and gives up on a claim after half a lease: what it brings later would soon expire. The jobs of such a
 * claim are released when it is answered after all.
 *
 * @throws JobError `lease_lost` when it gives up, or what the ledger throws.
 */
export async function requestJobs(request: ClaimRequest, deps: ClaimDeps): Promise<ClaimResult> {
  const response = deps.jobs.claim(request);
  try {
    return await withDeadline(request.leaseMs / 2, () => response, deps.clock);
  } catch (error) {
    if (!(error instanceof DeadlineExceededError)) throw error;
    void releaseLate(response, deps);
    throw new JobError("lease_lost", "The ledger did not answer a claim within half a lease.");
  }
}

async function releaseLate(
  response: Promise<ClaimResult>,
  { jobs, logger }: ClaimDeps,
): Promise<void> {
  try {
    const { jobs: claimed } = await response;
    await jobs.settle(
      claimed.map(({ id, fence }) => ({ id, fence, kind: "released", hasRun: false })),
    );
  } catch (error) {
    // Their leases expire.
    logger.warn("job.late_claim_kept", { error: describeError(error).message });
  }
}
