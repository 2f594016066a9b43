import {
  DeadlineExceededError,
  withDeadline,
  type Clock,
  type Lane,
  type Logger,
} from "@evenkeel/core";
import type { ClaimedJob, ClaimResult, JobStore } from "@evenkeel/ledger";

import { PollerLease, renewalMs } from "./poller-lease.ts";
import { Attempt } from "./attempt.ts";
import { averageDuration, prefetchTarget } from "./prefetch.ts";
import { readRemains, type DrainCounts, type DrainReport } from "./drain-report.ts";
import { describeError } from "./error-description.ts";
import { delegate, type RequestRuns } from "./isolated-jobs.ts";
import { JobError } from "../job-error.ts";
import type { JobHandler } from "../definition/job-handler.ts";
import { JobSettler } from "./job-settler.ts";
import { LeaseRenewer } from "./lease-renewer.ts";
import { ProgressWriter } from "./progress-writer.ts";
import { LocalQueue } from "./local-queue.ts";
import type { SuspectGate } from "./suspect-gate.ts";

/** What every drain of a runner shares. */
export interface DrainDeps {
  readonly jobs: JobStore;
  readonly handlers: ReadonlyMap<string, JobHandler>;
  readonly owner: string;
  readonly lane: Lane;
  readonly concurrency: number;
  readonly batchSize: number;
  readonly leaseMs: number;
  readonly clock: Clock;
  readonly settleDelayMs: number;
  readonly suspects: SuspectGate;
  readonly random: () => number;
  readonly logger: Logger;
}

interface DrainLimits {
  readonly budgetMs: number;
  readonly deadlineMs: number;
  readonly idleTimeoutMs: number;
  readonly maxJobs: number;
  readonly abortGraceMs: number;
  readonly signal: AbortSignal | undefined;
  readonly stopSignal: AbortSignal | undefined;
  readonly requestRuns: RequestRuns | undefined;
}

/** While jobs run and none was due, how often the queue is asked again, in milliseconds. */
const pollMs = 250;

/** The same while it attends the lane and has just seen a job. */
const attentivePollMs = 20;

const longestClaimRetryMs = 5_000;

/**
 * One drain. Everything happens in `#pump`, which is called whenever something changed: it starts what can
 * start, claims what should be claimed, and ends the drain when nothing is left to wait for.
 */
export class Drain {
  readonly #deps: DrainDeps;
  readonly #limits: DrainLimits;
  readonly #types: readonly string[];
  readonly #leases: LeaseRenewer;
  readonly #progress: ProgressWriter;
  readonly #settler: JobSettler;
  readonly #poller: PollerLease;
  readonly #attempts = new Map<string, Attempt>();
  readonly #cancelTimers = new Set<() => void>();
  readonly #waiting: LocalQueue;
  #averageMs: number | undefined;
  #afterTenant: string | undefined;
  #isPumping = false;
  #isClaiming = false;
  #isStopping = false;
  #isLeaving = false;
  /** Batches of isolated jobs that are being handed over. */
  #delegations = 0;
  readonly #startedAtMs: number;
  #lastSeenMs: number;
  /** Whether jobs were left that the limit has no room for. */
  #hasPassedOver = false;
  /** When the last claim was sent. */
  #claimedAtMs = Number.NEGATIVE_INFINITY;
  /** Whether a cap or a rate kept the last claim from due work. */
  #isThrottled = false;
  /** Whether the last claim found nothing. */
  #wasEmpty = false;
  /** Whether a job ended since the last claim was sent: it may have enqueued others, or be due again. */
  #hasChanged = false;
  /** While the last claim found nothing, or failed: whether it is time to ask again. */
  #mayAskAgain = false;
  #claims = 0;
  #claimFailures = 0;
  #end: { resolve(): void; reject(error: unknown): void } | undefined;
  readonly #counts: DrainCounts = {
    claimed: 0,
    succeeded: 0,
    retried: 0,
    snoozed: 0,
    dead: 0,
    lost: 0,
    released: 0,
    delegated: 0,
  };

  constructor(deps: DrainDeps, limits: DrainLimits) {
    this.#deps = deps;
    this.#limits = limits;
    this.#types = [...deps.handlers.keys()];
    this.#leases = new LeaseRenewer(deps);
    this.#progress = new ProgressWriter(deps);
    this.#settler = new JobSettler({
      ...deps,
      leases: this.#leases,
      counts: this.#counts,
      onWritten: () => this.#pump(),
    });
    this.#waiting = new LocalQueue(deps.suspects, () => this.#pump());
    this.#poller = new PollerLease({
      ...deps,
      isAttentive: () => this.#isAttentive(),
      onChange: () => this.#pump(),
    });
    this.#startedAtMs = deps.clock.now();
    this.#lastSeenMs = this.#startedAtMs;
  }

  async run(): Promise<DrainReport> {
    const { signal, stopSignal, budgetMs } = this.#limits;
    const onAbort = (): void => this.#abort();
    const onStop = (): void => this.#stop();
    try {
      await new Promise<void>((resolve, reject) => {
        this.#end = { resolve, reject };
        this.#setTimer(() => this.#stop(), budgetMs);
        signal?.addEventListener("abort", onAbort);
        stopSignal?.addEventListener("abort", onStop);
        if (stopSignal?.aborted === true) this.#stop();
        if (this.#limits.idleTimeoutMs > 0 && !this.#isStopping) this.#poller.start();
        if (budgetMs === 0 || signal?.aborted === true) this.#abort();
        this.#pump();
      });
    } finally {
      signal?.removeEventListener("abort", onAbort);
      stopSignal?.removeEventListener("abort", onStop);
      for (const cancel of this.#cancelTimers) cancel();
      this.#leases.stop();
      this.#progress.stop();
      // However it ended: an attendance that goes on keeps nudges away and starts this drain anew.
      await this.#poller.releasePoller();
    }
    return this.#report(this.#poller.hasPolled);
  }

  #pump(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    this.#startWaiting();
    const isBackingOff =
      this.#attempts.size === 0 && this.#waiting.size === 0 && this.#delegations === 0;
    // Nothing runs that could be settled together with what is finished.
    if (isBackingOff) this.#settler.flush();
    const isIdle = isBackingOff && this.#settler.isIdle;
    const limit = this.#claimLimit(isIdle);
    if (limit > 0) void this.#claim(limit);
    else if (isIdle && !this.#isClaiming && this.#isThrough()) {
      if (this.#poller.isMarked && !this.#isStopping) void this.#releasePoller();
      else this.#end?.resolve();
    }
    this.#isPumping = false;
  }

  #isThrough(): boolean {
    if (this.#isLeaving) return false;
    if (this.#isStopping || this.#counts.claimed >= this.#limits.maxJobs) return true;
    if (this.#fittingTypes().length === 0) return true;
    if (!this.#wasEmpty || this.#hasChanged || this.#claimFailures > 0) return false;
    if (this.#poller.resume() || this.#poller.isAsking) return false;
    return (
      !this.#poller.isHeld || !(this.#isThrottled || this.#idleMs() < this.#limits.idleTimeoutMs)
    );
  }

  /** Whether it takes jobs up: while all its slots are taken, or nothing starts any more, others should see to it. */
  #isAttentive(): boolean {
    if (this.#isStopping || this.#counts.claimed >= this.#limits.maxJobs) return false;
    if (this.#claimFailures > 0 || this.#settler.isBehind) return false;
    if (this.#fittingTypes() !== this.#types) return false;
    const isFree = this.#attempts.size < this.#deps.concurrency;
    return isFree || this.#deps.clock.now() - this.#claimedAtMs < renewalMs;
  }

  /** How long what starts now may take. */
  #leftMs(): number {
    return this.#limits.deadlineMs - (this.#deps.clock.now() - this.#startedAtMs);
  }

  /** The types whose jobs may be claimed: after the first claim, those whose time-outs the limit leaves room for. */
  #fittingTypes(): readonly string[] {
    if (this.#claims === 0 || this.#limits.deadlineMs === Number.POSITIVE_INFINITY)
      return this.#types;
    const leftMs = this.#leftMs();
    const { handlers } = this.#deps;
    const fits = this.#types.filter((type) => {
      return (handlers.get(type)?.definition.timeoutMs ?? 0) <= leftMs;
    });
    return fits.length === this.#types.length ? this.#types : fits;
  }

  /** How long ago it saw a job. */
  #idleMs(): number {
    return this.#deps.clock.now() - this.#lastSeenMs;
  }

  /** Gives the attendance back and looks once more: whoever enqueued and found the lane attended relies on it. */
  async #releasePoller(): Promise<void> {
    this.#isLeaving = true;
    await this.#poller.releasePoller();
    this.#isLeaving = false;
    this.#mayAskAgain = true;
    this.#pump();
  }

  #startWaiting(): void {
    if (this.#isStopping) return;
    while (this.#attempts.size < this.#deps.concurrency) {
      const next = this.#waiting.take();
      if (next === undefined) return;
      this.#start(next.job, next.handler);
    }
  }

  #start(job: ClaimedJob, handler: JobHandler): void {
    const startedAtMs = this.#deps.clock.now();
    const attempt = new Attempt({
      job,
      clock: this.#deps.clock,
      logger: this.#deps.logger,
      complete: (tx, result) => this.#settler.completeIn(job, tx, result),
      effects: this.#deps.jobs.effects,
      onProgress: (done, total) =>
        this.#progress.add({ id: job.id, fence: job.fence, done, total }),
      onEnd: (outcome) => {
        this.#attempts.delete(job.id);
        this.#deps.suspects.leave(job);
        this.#progress.untrack(job.id);
        this.#averageMs = averageDuration(this.#averageMs, this.#deps.clock.now() - startedAtMs);
        this.#hasChanged = true;
        if (outcome !== undefined) this.#settler.settleOutcome(job, handler, outcome);
        this.#pump();
      },
    });
    this.#attempts.set(job.id, attempt);
    if (job.crashes === 0) attempt.start(handler, this.#leftMs());
    else void this.#startSuspect(attempt, job, handler);
  }

  /**
   * Starts a job whose worker went away before. If this one does too, that counts for what it ran and not for what
   * it only held: so the count is written before.
   */
  async #startSuspect(attempt: Attempt, job: ClaimedJob, handler: JobHandler): Promise<void> {
    const { clock, jobs, leaseMs, logger } = this.#deps;
    try {
      const isHeld = await withDeadline(
        leaseMs / 2,
        () => jobs.recordCrash(job, job.crashes + 1),
        clock,
      );
      if (!isHeld) {
        this.#loseLease(job);
        return;
      }
    } catch (error) {
      logger.warn("job.crash_unrecorded", { jobId: job.id, error: describeError(error).message });
    }
    if (this.#attempts.get(job.id) === attempt) attempt.start(handler, this.#leftMs());
  }

  /** How many jobs to claim now; 0: none. */
  #claimLimit(isIdle: boolean): number {
    if (this.#isStopping || this.#isClaiming || this.#isLeaving) return 0;
    const room = this.#limits.maxJobs - this.#counts.claimed;
    if (room <= 0) return 0;
    if (this.#settler.isBehind || this.#fittingTypes().length === 0) return 0;
    const { concurrency, batchSize } = this.#deps;
    const target = prefetchTarget({ averageMs: this.#averageMs, concurrency, batchSize });
    const missing = target - this.#attempts.size - this.#waiting.size;
    const isHungry = !this.#waiting.hasReady && this.#attempts.size < concurrency;
    if (!isHungry && missing < target / 2) return 0;
    if (this.#claimFailures > 0 && !this.#mayAskAgain) return 0;
    // After an empty claim: when all work has ended and may have left more, or at the poll's pace.
    if (this.#wasEmpty && !this.#mayAskAgain && !(isIdle && this.#hasChanged)) return 0;
    return Math.min(missing, batchSize, room);
  }

  async #claim(limit: number): Promise<void> {
    const { clock, jobs, lane, leaseMs, owner, logger } = this.#deps;
    this.#isClaiming = true;
    this.#hasChanged = false;
    this.#mayAskAgain = false;
    const claimedAtMs = clock.now();
    this.#claimedAtMs = claimedAtMs;
    const types = this.#fittingTypes();
    this.#hasPassedOver ||= types !== this.#types;
    const request = {
      lane,
      types,
      limit,
      leaseMs,
      owner,
      ...(this.#afterTenant === undefined ? {} : { afterTenant: this.#afterTenant }),
    };
    try {
      const answer = jobs.claim(request);
      const result = await withDeadline(leaseMs / 2, () => answer, clock).catch(
        (error: unknown) => {
          if (!(error instanceof DeadlineExceededError)) throw error;
          this.#giveBackLate(answer);
          throw new JobError(
            "lease_lost",
            "The ledger did not answer a claim within half a lease.",
          );
        },
      );
      this.#claims += 1;
      this.#claimFailures = 0;
      this.#afterTenant = result.lastTenant ?? this.#afterTenant;
      this.#counts.claimed += result.jobs.length;
      this.#wasEmpty = result.jobs.length === 0;
      this.#take(result.jobs, claimedAtMs);
      this.#isThrottled = result.throttled;
      if (this.#wasEmpty) this.#askAgainAfter(this.#pollAfterMs());
      else {
        this.#lastSeenMs = clock.now();
        if (this.#limits.idleTimeoutMs > 0 && !this.#isStopping) this.#poller.start();
      }
    } catch (error) {
      if (this.#claims === 0) {
        this.#isStopping = true;
        this.#end?.reject(error);
        return;
      }
      this.#claimFailures += 1;
      const { code, message } = describeError(error);
      logger.warn("job.claim_failed", { code, error: message, failures: this.#claimFailures });
      this.#askAgainAfter(Math.min(longestClaimRetryMs, pollMs * 2 ** (this.#claimFailures - 1)));
    } finally {
      this.#isClaiming = false;
    }
    if (this.#isStopping) this.#releaseWaiting();
    this.#pump();
  }

  #pollAfterMs(): number {
    if (!this.#poller.isHeld) return pollMs;
    return Math.min(pollMs, Math.max(attentivePollMs, this.#idleMs() / 20));
  }

  /** What a claim brought: isolated jobs are handed over, if there is anyone to hand them over to. */
  #take(jobs: readonly ClaimedJob[], claimedAtMs: number): void {
    const { requestRuns } = this.#limits;
    const isIsolated = ({ type }: ClaimedJob): boolean =>
      requestRuns !== undefined && this.#deps.handlers.get(type)?.definition.isolated === true;
    const isolated = jobs.filter(isIsolated);
    if (requestRuns !== undefined && isolated.length > 0) {
      void this.#delegate(isolated, requestRuns, claimedAtMs);
    }
    for (const job of jobs) {
      if (!isIsolated(job)) this.#accept(job, claimedAtMs);
    }
  }

  async #delegate(
    jobs: readonly ClaimedJob[],
    requestRuns: RequestRuns,
    claimedAtMs: number,
  ): Promise<void> {
    this.#delegations += 1;
    await delegate(jobs, claimedAtMs, {
      ...this.#deps,
      requestRuns,
      settlements: this.#settler.queue,
      onSettled: (outcome) => {
        this.#counts[outcome] += 1;
      },
    });
    this.#delegations -= 1;
    this.#pump();
  }

  #accept(job: ClaimedJob, claimedAtMs: number): void {
    const handler = this.#deps.handlers.get(job.type);
    if (handler === undefined) return;
    // Its lease expired unnoticed, and this very drain claimed it again.
    const older = this.#attempts.get(job.id);
    if (older !== undefined || this.#waiting.delete(job.id)) this.#counts.lost += 1;
    older?.lose();
    this.#waiting.add(job, handler);
    this.#leases.track(job.id, job.fence, claimedAtMs, () => this.#loseLease(job));
  }

  /** A job is no longer this drain's. */
  #loseLease(job: ClaimedJob): void {
    this.#counts.lost += 1;
    const { id: jobId, type, tenantId, attempt } = job;
    this.#deps.logger.warn("job.lease_lost", { jobId, type, tenantId, attempt });
    this.#leases.untrack(job.id);
    this.#waiting.delete(job.id);
    this.#attempts.get(job.id)?.lose();
    this.#pump();
  }

  /** Jobs of a claim that was given up on: nobody here will run them. */
  #giveBackLate(answer: Promise<ClaimResult>): void {
    const { jobs, logger } = this.#deps;
    answer
      .then((result) =>
        jobs.settle(
          result.jobs.map(({ id, fence }) => ({ id, fence, kind: "released", hasRun: false })),
        ),
      )
      .catch((error: unknown) => {
        // Their leases expire.
        logger.warn("job.late_claim_kept", { error: describeError(error).message });
      });
  }

  #askAgainAfter(delayMs: number): void {
    this.#setTimer(() => {
      this.#mayAskAgain = true;
      this.#pump();
    }, delayMs);
  }

  #stop(): void {
    this.#isStopping = true;
    // What runs may go on for long, and nobody should rely on this drain meanwhile.
    void this.#poller.releasePoller();
    this.#releaseWaiting();
    this.#pump();
  }

  #releaseWaiting(): void {
    for (const job of this.#waiting.clear()) this.#settler.release(job);
  }

  #abort(): void {
    for (const attempt of this.#attempts.values()) attempt.interrupt();
    this.#setTimer(() => {
      for (const attempt of this.#attempts.values()) attempt.abandon();
    }, this.#limits.abortGraceMs);
    this.#stop();
  }

  /** A timer that ends with the drain. */
  #setTimer(callback: () => void, delayMs: number): void {
    const cancel = this.#deps.clock.setTimer(() => {
      this.#cancelTimers.delete(cancel);
      callback();
    }, delayMs);
    this.#cancelTimers.add(cancel);
  }

  /** `wasPolling`: somebody may rely on a look at the queue that comes only now. */
  async #report(wasPolling: boolean): Promise<DrainReport> {
    const { signal, stopSignal } = this.#limits;
    const remains = await readRemains({
      ...this.#deps,
      types: this.#types,
      patienceMs: this.#deps.leaseMs / 2,
      isThrough: this.#wasEmpty && !this.#hasChanged && !wasPolling && !this.#hasPassedOver,
    });
    const stopped = signal?.aborted === true || stopSignal?.aborted === true;
    const throttled = wasPolling && this.#isThrottled;
    return { ...this.#counts, ...remains, throttled, stopped };
  }
}
