import type { Lane, Logger } from "@evenkeel/events";
import {
  toSqlClient,
  type ClaimedJob,
  type ClaimResult,
  type JobStore,
  type TransactionClient,
} from "@evenkeel/ledger";

import { Attendance, renewalMs } from "./attendance.ts";
import { Attempt } from "./attempt.ts";
import { averageDuration, targetStock } from "./claim-size.ts";
import { within, type Clock } from "./clock.ts";
import { countedAs, readRemains, type DrainCounts, type DrainReport } from "./drain-report.ts";
import { describeError } from "./error-description.ts";
import { handOver } from "./hand-over.ts";
import type { Isolate } from "./isolate.ts";
import { JobError } from "./job-error.ts";
import type { JobHandler } from "./job-handler.ts";
import { LeaseKeeper } from "./lease-keeper.ts";
import { ProgressKeeper } from "./progress-keeper.ts";
import {
  abortReasons,
  decideSettlement,
  type AttemptOutcome,
  type Decision,
} from "./settlement-decision.ts";
import { SettlementQueue } from "./settlement-queue.ts";

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
  readonly random: () => number;
  readonly logger: Logger;
}

interface DrainLimits {
  readonly budgetMs: number;
  readonly limitMs: number;
  readonly lingerMs: number;
  readonly maxJobs: number;
  readonly abortGraceMs: number;
  readonly signal: AbortSignal | undefined;
  readonly stopSignal: AbortSignal | undefined;
  readonly isolate: Isolate | undefined;
}

interface WaitingJob {
  readonly job: ClaimedJob;
  readonly handler: JobHandler;
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
  readonly #leases: LeaseKeeper;
  readonly #progress: ProgressKeeper;
  readonly #settlements: SettlementQueue;
  /** Of jobs with a `completeIn`: each may wait for its handler's transaction, and the others must not. */
  readonly #completions: SettlementQueue;
  readonly #attendance: Attendance;
  readonly #attempts = new Map<string, Attempt>();
  readonly #cancelTimers = new Set<() => void>();
  readonly #waiting = new Map<string, WaitingJob>();
  /** Jobs whose handlers called `completeIn`, whatever became of it. */
  readonly #completing = new WeakSet<ClaimedJob>();
  /** Jobs whose handlers settled them in transactions of their own, which may yet have been rolled back. */
  readonly #completed = new WeakSet<ClaimedJob>();
  #averageMs: number | undefined;
  #afterTenant: string | undefined;
  #isPumping = false;
  #isClaiming = false;
  #isStopping = false;
  #isLeaving = false;
  /** Batches of isolated jobs that are being handed over. */
  #handOvers = 0;
  readonly #startedAtMs: number;
  #lastSeenMs: number;
  /** Whether jobs were left that the limit has no room for. */
  #hasPassedOver = false;
  /** When the last claim was sent. */
  #claimedAtMs = Number.NEGATIVE_INFINITY;
  /** Whether a cap or a rate kept the last claim from due work. */
  #isHeldBack = false;
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
    refused: 0,
    released: 0,
    handedOver: 0,
  };

  constructor(deps: DrainDeps, limits: DrainLimits) {
    this.#deps = deps;
    this.#limits = limits;
    this.#types = [...deps.handlers.keys()];
    this.#leases = new LeaseKeeper(deps);
    this.#progress = new ProgressKeeper(deps);
    this.#settlements = new SettlementQueue({ ...deps, onWritten: () => this.#pump() });
    this.#completions = new SettlementQueue({ ...deps, onWritten: () => this.#pump() });
    this.#attendance = new Attendance({
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
        if (this.#limits.lingerMs > 0 && !this.#isStopping) this.#attendance.start();
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
      await this.#attendance.leave();
    }
    return this.#report(this.#attendance.hasAttended);
  }

  #pump(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    this.#startWaiting();
    const isResting =
      this.#attempts.size === 0 && this.#waiting.size === 0 && this.#handOvers === 0;
    // Nothing runs that could be settled together with what is finished.
    if (isResting) {
      this.#settlements.flush();
      this.#completions.flush();
    }
    const isIdle = isResting && this.#settlements.isIdle && this.#completions.isIdle;
    const limit = this.#claimLimit(isIdle);
    if (limit > 0) void this.#claim(limit);
    else if (isIdle && !this.#isClaiming && this.#isThrough()) {
      if (this.#attendance.isMarked && !this.#isStopping) void this.#leave();
      else this.#end?.resolve();
    }
    this.#isPumping = false;
  }

  #isThrough(): boolean {
    if (this.#isLeaving) return false;
    if (this.#isStopping || this.#counts.claimed >= this.#limits.maxJobs) return true;
    if (this.#fittingTypes().length === 0) return true;
    if (!this.#wasEmpty || this.#hasChanged || this.#claimFailures > 0) return false;
    if (this.#attendance.resume() || this.#attendance.isAsking) return false;
    return (
      !this.#attendance.isHeld || !(this.#isHeldBack || this.#idleMs() < this.#limits.lingerMs)
    );
  }

  /** Whether it takes jobs up: while all its slots are taken, or nothing starts any more, others should see to it. */
  #isAttentive(): boolean {
    if (this.#isStopping || this.#counts.claimed >= this.#limits.maxJobs) return false;
    if (this.#claimFailures > 0 || this.#isBehind()) return false;
    if (this.#fittingTypes() !== this.#types) return false;
    const isFree = this.#attempts.size < this.#deps.concurrency;
    return isFree || this.#deps.clock.now() - this.#claimedAtMs < renewalMs;
  }

  /** How long what starts now may take. */
  #leftMs(): number {
    return this.#limits.limitMs - (this.#deps.clock.now() - this.#startedAtMs);
  }

  /** The types whose jobs may be claimed: after the first claim, those whose time-outs the limit leaves room for. */
  #fittingTypes(): readonly string[] {
    if (this.#claims === 0 || this.#limits.limitMs === Number.POSITIVE_INFINITY) return this.#types;
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
  async #leave(): Promise<void> {
    this.#isLeaving = true;
    await this.#attendance.leave();
    this.#isLeaving = false;
    this.#mayAskAgain = true;
    this.#pump();
  }

  #startWaiting(): void {
    if (this.#isStopping) return;
    while (this.#attempts.size < this.#deps.concurrency) {
      const [first] = this.#waiting;
      if (first === undefined) return;
      this.#waiting.delete(first[0]);
      this.#start(first[1].job, first[1].handler);
    }
  }

  #start(job: ClaimedJob, handler: JobHandler): void {
    const startedAtMs = this.#deps.clock.now();
    const attempt = new Attempt({
      job,
      clock: this.#deps.clock,
      logger: this.#deps.logger,
      complete: (tx, result) => this.#completeIn(job, tx, result),
      effects: this.#deps.jobs.effects,
      onProgress: (done, total) =>
        this.#progress.add({ id: job.id, fence: job.fence, done, total }),
      onEnd: (outcome) => {
        this.#attempts.delete(job.id);
        this.#progress.letGo(job.id);
        this.#averageMs = averageDuration(this.#averageMs, this.#deps.clock.now() - startedAtMs);
        this.#hasChanged = true;
        if (outcome !== undefined) this.#decide(job, handler, outcome);
        this.#pump();
      },
    });
    this.#attempts.set(job.id, attempt);
    attempt.start(handler, this.#leftMs());
  }

  async #completeIn(job: ClaimedJob, tx: TransactionClient, result: unknown): Promise<void> {
    const { id, fence } = job;
    this.#completing.add(job);
    // Its row is locked until the transaction ends; the renewal of other leases must not wait for that.
    this.#leases.exempt(id, fence, true);
    let isAccepted = false;
    try {
      const settlement = { id, fence, kind: "succeeded", result } as const;
      isAccepted = (await this.#deps.jobs.settle([settlement], toSqlClient(tx))).has(id);
    } finally {
      // The handler may go on, and try another transaction.
      if (!isAccepted) this.#leases.exempt(id, fence, false);
    }
    if (!isAccepted) throw abortReasons.leaseLost(id);
    this.#completed.add(job);
  }

  #decide(job: ClaimedJob, handler: JobHandler, outcome: AttemptOutcome): void {
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

  #settle(job: ClaimedJob, decision: Decision): void {
    const { id, fence, type, tenantId, attempt } = job;
    const deadlineMs = this.#leases.letGo(id) ?? this.#deps.clock.now();
    const settlements = this.#completing.has(job) ? this.#completions : this.#settlements;
    settlements.add({
      settlement: { ...decision, id, fence },
      deadlineMs,
      onSettled: (isAccepted) => {
        const fields = { jobId: id, type, tenantId, attempt };
        if (!isAccepted && this.#completed.has(job)) {
          this.#counts.succeeded += 1;
          return;
        }
        this.#counts[isAccepted ? countedAs[decision.kind] : "refused"] += 1;
        if (!isAccepted) this.#deps.logger.warn("job.refused", { ...fields, kind: decision.kind });
        else if (decision.kind === "dead" || decision.kind === "retry") {
          const { code } = decision.error;
          const reason = decision.kind === "dead" ? decision.reason : undefined;
          this.#deps.logger.warn(`job.${decision.kind}`, { ...fields, code, reason });
        }
      },
    });
  }

  /** How many jobs to claim now; 0: none. */
  #claimLimit(isIdle: boolean): number {
    if (this.#isStopping || this.#isClaiming || this.#isLeaving) return 0;
    const room = this.#limits.maxJobs - this.#counts.claimed;
    if (room <= 0) return 0;
    if (this.#isBehind() || this.#fittingTypes().length === 0) return 0;
    const { concurrency, batchSize } = this.#deps;
    const target = targetStock({ averageMs: this.#averageMs, concurrency, batchSize });
    const missing = target - this.#attempts.size - this.#waiting.size;
    const isHungry = this.#waiting.size === 0 && this.#attempts.size < concurrency;
    if (!isHungry && missing < target / 2) return 0;
    if (this.#claimFailures > 0 && !this.#mayAskAgain) return 0;
    // After an empty claim: when all work has ended and may have left more, or at the poll's pace.
    if (this.#wasEmpty && !this.#mayAskAgain && !(isIdle && this.#hasChanged)) return 0;
    return Math.min(missing, batchSize, room);
  }

  /** Whether what ended is not written: to run more would be to run more of it twice. */
  #isBehind(): boolean {
    const { leaseMs, batchSize, concurrency } = this.#deps;
    const { size, writingForMs } = this.#settlements;
    return writingForMs > leaseMs / 10 || size > 2 * (batchSize + concurrency);
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
      const result = await within(clock, leaseMs / 2, answer);
      if (result === undefined) {
        this.#giveBackLate(answer);
        throw new JobError("lease_lost", "The ledger did not answer a claim within half a lease.");
      }
      this.#claims += 1;
      this.#claimFailures = 0;
      this.#afterTenant = result.lastTenant ?? this.#afterTenant;
      this.#counts.claimed += result.jobs.length;
      this.#wasEmpty = result.jobs.length === 0;
      this.#take(result.jobs, claimedAtMs);
      this.#isHeldBack = result.heldBack;
      if (this.#wasEmpty) this.#askAgainAfter(this.#pollAfterMs());
      else {
        this.#lastSeenMs = clock.now();
        if (this.#limits.lingerMs > 0 && !this.#isStopping) this.#attendance.start();
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
    if (!this.#attendance.isHeld) return pollMs;
    return Math.min(pollMs, Math.max(attentivePollMs, this.#idleMs() / 20));
  }

  /** What a claim brought: isolated jobs are handed over, if there is anyone to hand them over to. */
  #take(jobs: readonly ClaimedJob[], claimedAtMs: number): void {
    const { isolate } = this.#limits;
    const isIsolated = ({ type }: ClaimedJob): boolean =>
      isolate !== undefined && this.#deps.handlers.get(type)?.definition.isolated === true;
    const isolated = jobs.filter(isIsolated);
    if (isolate !== undefined && isolated.length > 0) {
      void this.#handOver(isolated, isolate, claimedAtMs);
    }
    for (const job of jobs) {
      if (!isIsolated(job)) this.#accept(job, claimedAtMs);
    }
  }

  async #handOver(
    jobs: readonly ClaimedJob[],
    isolate: Isolate,
    claimedAtMs: number,
  ): Promise<void> {
    const settlements = this.#settlements;
    this.#handOvers += 1;
    await handOver(jobs, claimedAtMs, {
      ...this.#deps,
      isolate,
      settlements,
      onSettled: (outcome) => {
        this.#counts[outcome] += 1;
      },
    });
    this.#handOvers -= 1;
    this.#pump();
  }

  #accept(job: ClaimedJob, claimedAtMs: number): void {
    const handler = this.#deps.handlers.get(job.type);
    if (handler === undefined) return;
    // Its lease lapsed unnoticed, and this very drain claimed it again.
    const older = this.#attempts.get(job.id);
    if (older !== undefined || this.#waiting.has(job.id)) this.#counts.refused += 1;
    older?.lose();
    this.#waiting.set(job.id, { job, handler });
    this.#leases.hold(job.id, job.fence, claimedAtMs, () => {
      this.#counts.refused += 1;
      const { id: jobId, type, tenantId, attempt } = job;
      this.#deps.logger.warn("job.lease_lost", { jobId, type, tenantId, attempt });
      this.#waiting.delete(job.id);
      this.#attempts.get(job.id)?.lose();
      this.#pump();
    });
  }

  /** Jobs of a claim that was given up on: nobody here will run them. */
  #giveBackLate(answer: Promise<ClaimResult>): void {
    const { jobs, logger } = this.#deps;
    answer
      .then((result) =>
        jobs.settle(result.jobs.map(({ id, fence }) => ({ id, fence, kind: "released" }))),
      )
      .catch((error: unknown) => {
        // Their leases lapse.
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
    void this.#attendance.leave();
    this.#releaseWaiting();
    this.#pump();
  }

  #releaseWaiting(): void {
    for (const { job } of this.#waiting.values()) this.#settle(job, { kind: "released" });
    this.#waiting.clear();
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

  /** `wasAttending`: somebody may rely on a look at the queue that comes only now. */
  async #report(wasAttending: boolean): Promise<DrainReport> {
    const { signal, stopSignal } = this.#limits;
    const remains = await readRemains({
      ...this.#deps,
      types: this.#types,
      patienceMs: this.#deps.leaseMs / 2,
      isThrough: this.#wasEmpty && !this.#hasChanged && !wasAttending && !this.#hasPassedOver,
    });
    const stopped = signal?.aborted === true || stopSignal?.aborted === true;
    const heldBack = wasAttending && this.#isHeldBack;
    return { ...this.#counts, ...remains, heldBack, stopped };
  }
}
