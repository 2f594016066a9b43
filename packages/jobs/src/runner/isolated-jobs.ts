import { withDeadline, type Clock, type Lane, type Logger } from "@evenkeel/core";
import type { ClaimedJob } from "@evenkeel/ledger";

import { describeError } from "../definition/error-description.ts";
import type { SettlementQueue } from "./settlement-queue.ts";

/** A job that is delegated to a run of its own. */
export type IsolatedJob = Pick<
  ClaimedJob,
  "id" | "fence" | "tenantId" | "type" | "correlationId"
> & { readonly lane: Lane };

/** Asks for a run of each job. Rejects when not all may have been asked for. */
export type RequestRuns = (jobs: readonly IsolatedJob[]) => Promise<unknown>;

/** How long a run has to claim a job that was delegated for the first time, in milliseconds. */
const delegateMs = 5 * 60_000;

/** How long a job waits that could not be delegated, in milliseconds. */
const failedDelegateMs = 5_000;

/**
 * Asks for runs of isolated jobs and snoozes the jobs: they are delegated again if their runs never start, each time
 * after twice as long. A run may claim its job before the snooze is written, which is then refused.
 */
export async function delegate(
  jobs: readonly ClaimedJob[],
  claimedAtMs: number,
  deps: {
    readonly requestRuns: RequestRuns;
    readonly settlements: Pick<SettlementQueue, "add">;
    readonly lane: Lane;
    readonly leaseMs: number;
    readonly clock: Clock;
    readonly logger: Logger;
    readonly onSettled: (outcome: "delegated" | "snoozed") => void;
  },
): Promise<void> {
  const { requestRuns, settlements, lane, leaseMs, clock, logger } = deps;
  let isAsked = false;
  try {
    const requests = jobs.map(({ id, fence, tenantId, type, correlationId }) => {
      return { id, fence, tenantId, type, correlationId, lane };
    });
    await withDeadline(leaseMs / 2, () => requestRuns(requests), clock);
    isAsked = true;
  } catch (error) {
    logger.warn("job.delegate_failed", { jobs: jobs.length, error: describeError(error).message });
  }
  for (const { id, fence, attempt } of jobs) {
    const earlier = Math.min(6, Math.max(0, Number(fence) - attempt));
    const delayMs = isAsked ? delegateMs * 2 ** earlier : failedDelegateMs;
    settlements.add({
      settlement: { id, fence, kind: "snooze", delayMs, hasRun: false },
      deadlineMs: claimedAtMs + leaseMs,
      onSettled: () => deps.onSettled(isAsked ? "delegated" : "snoozed"),
    });
  }
}
