import type { Logger, Clock } from "@evenkeel/core";
import {
  redactError,
  toSqlClient,
  type ClaimedJob,
  type JobStore,
  type TransactionClient,
} from "@evenkeel/ledger";

import type { JobHandler } from "../definition/job-handler.ts";
import type { JobError } from "../job-error.ts";
import { abortReasons } from "./abort-reasons.ts";
import { countedAs, type DrainCounts } from "./drain-report.ts";
import type { LeaseRenewer } from "./lease-renewer.ts";
import { decideSettlement, type AttemptOutcome, type Decision } from "./settlement-decision.ts";
import { SettlementQueue } from "./settlement-queue.ts";

/** How much of an error's message a log line tells, in characters; the ledger keeps more. */
const maxLoggedLength = 500;

/** What a drain's jobs are settled with. */
interface JobSettlerDeps {
  readonly jobs: JobStore;
  readonly leases: LeaseRenewer;
  /** What the ledger accepted is added here. */
  readonly counts: DrainCounts;
  readonly concurrency: number;
  readonly batchSize: number;
  readonly leaseMs: number;
  readonly settleDelayMs: number;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  /** Called after every batch. */
  readonly onWritten: () => void;
}

/** Decides and writes how the jobs of a drain end, and counts them by what the ledger says. */
export class JobSettler {
  readonly #deps: JobSettlerDeps;
  /** Where what is no attempt's end is settled too. */
  readonly queue: SettlementQueue;
  /** Jobs whose handlers called `completeIn`, whatever became of it. */
  readonly #completing = new WeakSet<ClaimedJob>();
  /** Jobs whose handlers settled them in transactions of their own, which may yet have been rolled back. */
  readonly #completed = new WeakSet<ClaimedJob>();

  constructor(deps: JobSettlerDeps) {
    this.#deps = deps;
    this.queue = new SettlementQueue(deps);
  }

  get isIdle(): boolean {
    return this.queue.isIdle;
  }

  /** Whether what ended is not written: to run more would be to run more of it twice. */
  get isBehind(): boolean {
    const { leaseMs, batchSize, concurrency } = this.#deps;
    const { size, writingForMs } = this.queue;
    return writingForMs > leaseMs / 10 || size > 2 * (batchSize + concurrency);
  }

  /** Writes what is there without waiting for more. */
  flush(): void {
    this.queue.flush();
  }

  /**
   * Settles a job as succeeded inside its handler's transaction.
   *
   * @throws JobError `lease_lost` when the job is no longer held, `cancelled` when it was cancelled.
   */
  async completeIn(job: ClaimedJob, tx: TransactionClient, result: unknown): Promise<void> {
    const { jobs, leases } = this.#deps;
    const { id, fence } = job;
    this.#completing.add(job);
    // Its row is locked until the transaction ends, and then gone: nobody takes it over meanwhile.
    leases.exempt(id, fence, true);
    let isAccepted = false;
    try {
      const settlement = { id, fence, kind: "succeeded", result } as const;
      isAccepted = (await jobs.settle([settlement], toSqlClient(tx))).has(id);
    } finally {
      // The handler may go on, and try another transaction.
      if (!isAccepted) leases.exempt(id, fence, false);
    }
    if (!isAccepted) throw await this.whyRefused(job);
    this.#completed.add(job);
  }

  /** Returns what a handler is told whose job is no longer held. Never rejects. */
  async whyRefused({ id, fence }: ClaimedJob): Promise<JobError> {
    const standings = await this.#deps.jobs
      .standingOf([{ id, fence }])
      .catch(() => new Map<string, never>());
    return standings.get(id) === "cancelled"
      ? abortReasons.cancelled(id)
      : abortReasons.leaseLost(id);
  }

  /** Settles a job by how its attempt ended. */
  settleOutcome(job: ClaimedJob, handler: JobHandler, outcome: AttemptOutcome): void {
    const { attempt, maxAttempts, id } = job;
    // Refused, and rightly so, unless the transaction did not commit.
    const isInTransaction = outcome.kind === "returned" && this.#completing.has(job);
    const checked: AttemptOutcome = isInTransaction
      ? { kind: "threw", error: abortReasons.completionRolledBack(id) }
      : outcome;
    const { retry, isRetryable } = handler.definition;
    const { random } = this.#deps;
    this.#settle(
      job,
      decideSettlement({ outcome: checked, attempt, maxAttempts, retry, isRetryable, random }),
    );
  }

  /** Releases a job that was not started. */
  release(job: ClaimedJob): void {
    this.#settle(job, { kind: "released", hasRun: false });
  }

  #settle(job: ClaimedJob, decision: Decision): void {
    const { leases, clock, counts, logger } = this.#deps;
    const { id, fence, type, tenantId, attempt } = job;
    const deadlineMs = leases.untrack(id) ?? clock.now();
    this.queue.add({
      settlement: { ...decision, id, fence },
      deadlineMs,
      onSettled: (answer) => {
        const fields = { jobId: id, type, tenantId, attempt };
        if (answer === "lost" && this.#completed.has(job)) {
          counts.succeeded += 1;
          return;
        }
        counts[answer === "accepted" ? countedAs[decision.kind] : answer] += 1;
        if (answer === "lost") logger.warn("job.lost", { ...fields, kind: decision.kind });
        else if (answer === "cancelled") logger.info("job.cancelled", fields);
        else if (decision.kind === "dead" || decision.kind === "retry") {
          const { code, message } = decision.error;
          const error = redactError(message).slice(0, maxLoggedLength);
          const reason = decision.kind === "dead" ? decision.reason : undefined;
          logger.warn(`job.${decision.kind}`, { ...fields, code, error, reason });
        }
      },
    });
  }
}
