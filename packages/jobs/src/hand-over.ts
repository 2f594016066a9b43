import type { Lane, Logger } from "@evenkeel/events";
import type { ClaimedJob } from "@evenkeel/ledger";

import { within, type Clock } from "./clock.ts";
import { describeError } from "./error-description.ts";
import type { Isolate } from "./isolate.ts";
import type { SettlementQueue } from "./settlement-queue.ts";

/** How long a run has to take over a job that was handed over for the first time, in milliseconds. */
const handOverMs = 5 * 60_000;

/** How long a job waits that could not be handed over, in milliseconds. */
const failedHandOverMs = 5_000;

/**
 * Asks for runs of isolated jobs and puts the jobs off: to be handed over again if their runs never start, each
 * time after twice as long. A run may take its job over before that is written, which is then refused.
 */
export async function handOver(
  jobs: readonly ClaimedJob[],
  claimedAtMs: number,
  deps: {
    readonly isolate: Isolate;
    readonly settlements: Pick<SettlementQueue, "add">;
    readonly lane: Lane;
    readonly leaseMs: number;
    readonly clock: Clock;
    readonly logger: Logger;
    readonly onSettled: (outcome: "handedOver" | "snoozed") => void;
  },
): Promise<void> {
  const { isolate, settlements, lane, leaseMs, clock, logger } = deps;
  let isAsked = false;
  try {
    const requests = jobs.map(({ id, fence, tenantId, type, correlationId }) => {
      return { id, fence, tenantId, type, correlationId, lane };
    });
    const answer = within(
      clock,
      leaseMs / 2,
      isolate(requests).then(() => true),
    );
    isAsked = (await answer) === true;
  } catch (error) {
    logger.warn("job.isolate_failed", { jobs: jobs.length, error: describeError(error).message });
  }
  for (const { id, fence, attempt } of jobs) {
    const earlier = Math.min(6, Math.max(0, Number(fence) - attempt));
    const delayMs = isAsked ? handOverMs * 2 ** earlier : failedHandOverMs;
    settlements.add({
      settlement: { id, fence, kind: "snooze", delayMs, hasRun: false },
      deadlineMs: claimedAtMs + leaseMs,
      onSettled: () => deps.onSettled(isAsked ? "handedOver" : "snoozed"),
    });
  }
}
