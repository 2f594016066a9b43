import { withDeadline, type Clock, type Lane, type Logger } from "@evenkeel/core";
import type { ClaimedJob } from "@evenkeel/ledger";

import { describeError } from "../definition/error-description.ts";
import type { JobHandler } from "../definition/job-handler.ts";
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

interface IsolatedJobsDeps {
  readonly handlers: ReadonlyMap<string, JobHandler>;
  /** `undefined`: there is nobody to delegate to. */
  readonly requestRuns: RequestRuns | undefined;
  readonly settlements: Pick<SettlementQueue, "add">;
  readonly lane: Lane;
  readonly leaseMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onSettled: (outcome: "delegated" | "snoozed") => void;
  /** Called after every batch. */
  readonly onChange: () => void;
}

/**
 * Asks for runs of a drain's isolated jobs and snoozes the jobs: they are delegated again if their runs never start, each
 * time after twice as long. A run may claim its job before the snooze is written, which is then refused.
 */
export class IsolatedJobs {
  readonly #deps: IsolatedJobsDeps;
  #underWay = 0;

  constructor(deps: IsolatedJobsDeps) {
    this.#deps = deps;
  }

  /** Batches that are being delegated. */
  get size(): number {
    return this.#underWay;
  }

  /** Delegates the isolated jobs of a claim. Returns the others, which the drain is to run itself. */
  take(jobs: readonly ClaimedJob[], claimedAtMs: number): readonly ClaimedJob[] {
    const { handlers, requestRuns } = this.#deps;
    if (requestRuns === undefined) return jobs;
    const isIsolated = ({ type }: ClaimedJob): boolean =>
      handlers.get(type)?.definition.isolated === true;
    const isolated = jobs.filter(isIsolated);
    if (isolated.length === 0) return jobs;
    void this.#delegate(isolated, requestRuns, claimedAtMs);
    return jobs.filter((job) => !isIsolated(job));
  }

  async #delegate(
    jobs: readonly ClaimedJob[],
    requestRuns: RequestRuns,
    claimedAtMs: number,
  ): Promise<void> {
    const { settlements, lane, leaseMs, clock, logger } = this.#deps;
    this.#underWay += 1;
    let isAsked = false;
    try {
      const requests = jobs.map(({ id, fence, tenantId, type, correlationId }) => {
        return { id, fence, tenantId, type, correlationId, lane };
      });
      await withDeadline(leaseMs / 2, () => requestRuns(requests), clock);
      isAsked = true;
    } catch (error) {
      const { message } = describeError(error);
      logger.warn("job.delegate_failed", { jobs: jobs.length, error: message });
    }
    for (const { id, fence, attempt } of jobs) {
      // A fence ends in three digits that count the job's claims.
      const claims = Number(fence.slice(-3));
      const earlier = Math.min(6, Math.max(0, claims - attempt));
      const delayMs = isAsked ? delegateMs * 2 ** earlier : failedDelegateMs;
      settlements.add({
        settlement: { id, fence, kind: "snooze", delayMs, hasRun: false },
        deadlineMs: claimedAtMs + leaseMs,
        onSettled: () => this.#deps.onSettled(isAsked ? "delegated" : "snoozed"),
      });
    }
    this.#underWay -= 1;
    this.#deps.onChange();
  }
}
