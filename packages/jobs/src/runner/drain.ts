import { defined } from "@evenkeel/core";
import type { ClaimedJob } from "@evenkeel/ledger";

import { describeError } from "../definition/error-description.ts";
import { AttemptPool } from "./attempt-pool.ts";
import {
  claimRetryAfterMs,
  hasNothingRunning,
  isAttentive,
  nextStep,
  pollAfterMs,
  type DrainPhase,
  type DrainState,
  type KnownType,
} from "./claim-policy.ts";
import { requestJobs } from "./claim-request.ts";
import type { DrainDeps, DrainLimits } from "./drain-options.ts";
import {
  emptyDrainCounts,
  readRemains,
  type DrainCounts,
  type DrainReport,
} from "./drain-report.ts";
import { delegate, type RequestRuns } from "./isolated-jobs.ts";
import { JobSettler } from "./job-settler.ts";
import { LeaseRenewer } from "./lease-renewer.ts";
import { LocalQueue } from "./local-queue.ts";
import { PollerLease } from "./poller-lease.ts";
import { ProgressWriter } from "./progress-writer.ts";

/**
 * One drain: a loop that fills its slots, asks {@link nextStep} what to do, does it, and waits until something changes.
 *
 * A claimed job has one owner at a time, in this order:
 *
 * - this class, while a claim is under way, and until a batch of isolated jobs is delegated;
 * - `LocalQueue`, until the job has a slot, and its turn if it is a suspect;
 * - `AttemptPool`, until its attempt ends;
 * - `JobSettler`, until the ledger has answered its settlement.
 *
 * Beside them, `LeaseRenewer` holds the leases of all jobs in the queue and in the pool, `PollerLease` the lane's
 * poller lease, `ProgressWriter` the progress that is not written yet. They report changes by `#wake` and nothing
 * else; what to do about a change is decided in one place.
 *
 * Invariants:
 *
 * 1. At most one claim is awaited, and none is sent after a stop.
 * 2. What a claim brings after a stop is released without a start, but for isolated jobs, which are delegated. All jobs
 *    of a claim that was given up on are released.
 * 3. No more than `maxJobs` are claimed, and no more run than there are slots.
 * 4. Every claimed job is counted once, under what became of it, before the drain ends.
 * 5. The drain ends only when no claim, delegation, attempt or settlement is under way.
 * 6. Whoever enqueues and then finds this drain's poller lease has its job seen: before the drain ends by itself it
 *    releases the lease and claims once more. A drain that was stopped asks in its report whether work is left.
 * 7. When not even the first claim succeeds, the drain rejects, and it holds no job and no poller lease then.
 */
export class Drain {
  readonly #deps: DrainDeps;
  readonly #limits: DrainLimits;
  readonly #types: readonly KnownType[];
  readonly #leases: LeaseRenewer;
  readonly #progress: ProgressWriter;
  readonly #settler: JobSettler;
  readonly #poller: PollerLease;
  readonly #pool: AttemptPool;
  readonly #waiting: LocalQueue;
  readonly #cancelTimers = new Set<() => void>();
  readonly #startedAtMs: number;
  #phase: DrainPhase = { kind: "draining" };
  /** Ends the loop's wait. */
  #wake: () => void = () => {};
  /** Batches of isolated jobs that are being delegated. */
  #delegating = 0;
  /** The tenant that the last claim ended with; the next continues after it. */
  #afterTenant: string | undefined;
  /** Claims that were answered. */
  #claims = 0;
  /** Claims that failed since. */
  #claimFailures = 0;
  /** When the last claim was sent. */
  #claimedAtMs = Number.NEGATIVE_INFINITY;
  /** When a claim last brought a job, or the drain began. */
  #lastSeenMs: number;
  /** Why the first claim failed. */
  #failure: { readonly error: unknown } | undefined;
  /** What the claims have told of the queue. */
  readonly #queue = {
    /** The last claim was answered, and found nothing. */
    isEmpty: false,
    /** A cap or a rate kept it from due work. */
    isThrottled: false,
    /** A job ended since it was sent: that job may have enqueued others, or be due again. */
    hasChanged: false,
    /** Some claim left out types for which the deadline had no room. */
    hasPassedOver: false,
  };
  readonly #counts: DrainCounts = emptyDrainCounts();

  constructor(deps: DrainDeps, limits: DrainLimits) {
    this.#deps = deps;
    this.#limits = limits;
    this.#types = [...deps.handlers].map(([type, { definition }]) => {
      return { type, timeoutMs: definition.timeoutMs };
    });
    const onChange = (): void => this.#wake();
    this.#leases = new LeaseRenewer(deps);
    this.#progress = new ProgressWriter(deps);
    this.#settler = new JobSettler({
      ...deps,
      leases: this.#leases,
      counts: this.#counts,
      onWritten: onChange,
    });
    this.#waiting = new LocalQueue(deps.suspects, onChange);
    this.#pool = new AttemptPool({
      ...deps,
      settler: this.#settler,
      progress: this.#progress,
      leftMs: () => this.#leftMs(),
      onEnd: () => {
        this.#queue.hasChanged = true;
        this.#wake();
      },
      onLost: (job) => this.#loseLease(job),
    });
    this.#poller = new PollerLease({
      ...deps,
      isAttentive: () => isAttentive(this.#state()),
      onChange,
    });
    this.#startedAtMs = deps.clock.now();
    this.#lastSeenMs = this.#startedAtMs;
  }

  /** Runs to its end. To be called once. Rejects with the error of the first claim. */
  async run(): Promise<DrainReport> {
    const { signal, stopSignal, budgetMs, idleTimeoutMs } = this.#limits;
    const onAbort = (): void => this.#abort();
    const onStop = (): void => this.#stop();
    signal?.addEventListener("abort", onAbort);
    stopSignal?.addEventListener("abort", onStop);
    try {
      this.#setTimer(() => this.#stop(), budgetMs);
      if (stopSignal?.aborted === true) this.#stop();
      else if (idleTimeoutMs > 0) this.#poller.start();
      if (budgetMs === 0 || signal?.aborted === true) this.#abort();
      await this.#loop();
    } finally {
      this.#phase = { kind: "ended" };
      signal?.removeEventListener("abort", onAbort);
      stopSignal?.removeEventListener("abort", onStop);
      for (const cancel of this.#cancelTimers) cancel();
      this.#leases.stop();
      this.#progress.stop();
      // However it ended: a poller lease that outlives its drain keeps nudges away.
      await this.#poller.releasePoller();
    }
    if (this.#failure !== undefined) throw this.#failure.error;
    return this.#report(this.#poller.hasPolled);
  }

  async #loop(): Promise<void> {
    for (;;) {
      // Before anything is looked at: what changes from here on is not missed.
      const change = Promise.withResolvers<void>();
      this.#wake = change.resolve;
      this.#fillSlots();
      const state = this.#state();
      // What ends later cannot go with it.
      if (hasNothingRunning(state)) this.#settler.flush();
      const step = nextStep(state);
      if (step.kind === "end") return;
      if (step.kind === "claim") void this.#claim(step.limit, step.types);
      else if (step.kind === "release-poller") void this.#leave();
      else if (step.kind === "resume-poller") this.#poller.resume();
      else {
        const cancel = this.#setTimer(change.resolve, step.untilMs - state.nowMs);
        await change.promise;
        cancel();
      }
    }
  }

  /** What the next step is decided on. */
  #state(): DrainState {
    const { clock, concurrency, batchSize } = this.#deps;
    const { deadlineMs, idleTimeoutMs, maxJobs } = this.#limits;
    const nowMs = clock.now();
    const hasDeadline = deadlineMs !== Number.POSITIVE_INFINITY && this.#claims > 0;
    return {
      phase: this.#phase,
      nowMs,
      running: this.#pool.size,
      waiting: this.#waiting.size,
      hasReady: this.#waiting.hasReady,
      delegating: this.#delegating,
      isSettled: this.#settler.isIdle,
      isBehind: this.#settler.isBehind,
      room: maxJobs - this.#counts.claimed,
      concurrency,
      batchSize,
      averageMs: this.#pool.averageMs,
      types: this.#types,
      leftMs: hasDeadline ? this.#leftMs() : Number.POSITIVE_INFINITY,
      claimedAtMs: this.#claimedAtMs,
      claimFailures: this.#claimFailures,
      hasChanged: this.#queue.hasChanged,
      isThrottled: this.#queue.isThrottled,
      idleMs: nowMs - this.#lastSeenMs,
      idleTimeoutMs,
      poller: this.#poller,
    };
  }

  /** How long what starts now may take. */
  #leftMs(): number {
    return this.#limits.deadlineMs - (this.#deps.clock.now() - this.#startedAtMs);
  }

  #fillSlots(): void {
    if (this.#isStopping()) return;
    while (this.#pool.size < this.#deps.concurrency) {
      const next = this.#waiting.take();
      if (next === undefined) return;
      this.#pool.start(next.job, next.handler);
    }
  }

  async #claim(limit: number, types: readonly string[]): Promise<void> {
    const { buckets, clock, lane, leaseMs, logger, owner, versions } = this.#deps;
    const request = { lane, buckets, types, versions, limit, leaseMs, owner };
    const claimedAtMs = clock.now();
    this.#phase = { kind: "claiming" };
    this.#claimedAtMs = claimedAtMs;
    this.#queue.hasChanged = false;
    this.#queue.hasPassedOver ||= types.length < this.#types.length;
    try {
      const result = await requestJobs(
        { ...request, ...defined({ afterTenant: this.#afterTenant }) },
        this.#deps,
      );
      this.#claims += 1;
      this.#claimFailures = 0;
      this.#afterTenant = result.lastTenant ?? this.#afterTenant;
      this.#counts.claimed += result.jobs.length;
      this.#queue.isEmpty = result.jobs.length === 0;
      this.#queue.isThrottled = result.throttled;
      this.#take(result.jobs, claimedAtMs);
      if (this.#queue.isEmpty) {
        const idleMs = clock.now() - this.#lastSeenMs;
        this.#endClaim(pollAfterMs({ isHeld: this.#poller.isHeld, idleMs }));
      } else {
        this.#lastSeenMs = clock.now();
        if (this.#limits.idleTimeoutMs > 0 && !this.#isStopping()) this.#poller.start();
        this.#endClaim();
      }
    } catch (error) {
      if (this.#claims === 0) {
        this.#failure = { error };
        this.#phase = { kind: "stopping", isClaiming: false };
        this.#wake();
        return;
      }
      this.#claimFailures += 1;
      this.#queue.isEmpty = false;
      const { code, message } = describeError(error);
      logger.warn("job.claim_failed", { code, error: message, failures: this.#claimFailures });
      this.#endClaim(claimRetryAfterMs(this.#claimFailures));
    }
  }

  /** Continues after a claim; `askAgainMs` if it brought nothing: how long to wait for the next. */
  #endClaim(askAgainMs?: number): void {
    if (this.#isStopping()) {
      this.#phase = { kind: "stopping", isClaiming: false };
      this.#releaseWaiting();
    } else if (askAgainMs === undefined) this.#phase = { kind: "draining" };
    else this.#phase = { kind: "idle", askAgainAtMs: this.#deps.clock.now() + askAgainMs };
    this.#wake();
  }

  /** Takes what a claim brought: isolated jobs are delegated if there is anyone to run them, the others queued. */
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
    this.#delegating += 1;
    await delegate(jobs, claimedAtMs, {
      ...this.#deps,
      requestRuns,
      settlements: this.#settler.queue,
      onSettled: (outcome) => {
        this.#counts[outcome] += 1;
      },
    });
    this.#delegating -= 1;
    this.#wake();
  }

  #accept(job: ClaimedJob, claimedAtMs: number): void {
    const handler = this.#deps.handlers.get(job.type);
    if (handler === undefined) return;
    // Its lease expired unnoticed, and this very drain claimed it again.
    if (this.#pool.lose(job.id) || this.#waiting.delete(job.id)) this.#counts.lost += 1;
    this.#waiting.add(job, handler);
    this.#leases.track(job.id, job.fence, claimedAtMs, () => this.#loseLease(job));
  }

  /** Drops a job that is no longer this drain's. */
  #loseLease(job: ClaimedJob): void {
    this.#counts.lost += 1;
    const { id: jobId, type, tenantId, attempt } = job;
    this.#deps.logger.warn("job.lease_lost", { jobId, type, tenantId, attempt });
    this.#leases.untrack(job.id);
    this.#waiting.delete(job.id);
    this.#pool.lose(job.id);
    this.#wake();
  }

  /** Releases the poller lease and claims once more: whoever enqueued and found it relies on that. */
  async #leave(): Promise<void> {
    this.#phase = { kind: "leaving" };
    await this.#poller.releasePoller();
    if (!this.#isStopping()) {
      this.#phase = { kind: "idle", askAgainAtMs: Number.NEGATIVE_INFINITY };
    }
    this.#wake();
  }

  #isStopping(): boolean {
    return this.#phase.kind === "stopping" || this.#phase.kind === "ended";
  }

  #stop(): void {
    const isClaiming =
      this.#phase.kind === "claiming" ||
      (this.#phase.kind === "stopping" && this.#phase.isClaiming);
    this.#phase = { kind: "stopping", isClaiming };
    // What runs may go on for long, and others must not rely on this drain meanwhile.
    void this.#poller.releasePoller();
    this.#releaseWaiting();
    this.#wake();
  }

  #releaseWaiting(): void {
    for (const job of this.#waiting.clear()) this.#settler.release(job);
  }

  #abort(): void {
    this.#pool.interrupt();
    this.#setTimer(() => this.#pool.abandon(), this.#limits.abortGraceMs);
    this.#stop();
  }

  /** Sets a timer that ends with the drain. Returns a function that ends it before; none is set for ever. */
  #setTimer(callback: () => void, delayMs: number): () => void {
    if (delayMs === Number.POSITIVE_INFINITY) return () => {};
    const cancel = this.#deps.clock.setTimer(() => {
      this.#cancelTimers.delete(cancel);
      callback();
    }, delayMs);
    this.#cancelTimers.add(cancel);
    return () => {
      this.#cancelTimers.delete(cancel);
      cancel();
    };
  }

  /** `wasPolling`: somebody may rely on a look at the queue that comes only now. */
  async #report(wasPolling: boolean): Promise<DrainReport> {
    const { signal, stopSignal } = this.#limits;
    const { isEmpty, isThrottled, hasChanged, hasPassedOver } = this.#queue;
    const remains = await readRemains({
      ...this.#deps,
      types: this.#types.map(({ type }) => type),
      patienceMs: this.#deps.leaseMs / 2,
      isThrough: isEmpty && !hasChanged && !wasPolling && !hasPassedOver,
    });
    const stopped = signal?.aborted === true || stopSignal?.aborted === true;
    return { ...this.#counts, ...remains, throttled: wasPolling && isThrottled, stopped };
  }
}
