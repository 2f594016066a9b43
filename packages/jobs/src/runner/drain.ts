import { defined } from "@evenkeel/core";
import type { ClaimedJob } from "@evenkeel/ledger";

import { describeError } from "../definition/error-description.ts";
import type { Loss } from "./abort-reasons.ts";
import {
  askOthersAfterMs,
  claimRetryAfterMs,
  hasNothingRunning,
  isAttentive,
  nextStep,
  pollAfterMs,
  type ClaimStep,
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
import { DrainTimers } from "./drain-timers.ts";
import { IsolatedJobs } from "./isolated-jobs.ts";
import { JobSettler } from "./job-settler.ts";
import { JobSlots } from "./job-slots.ts";
import { LeaseRenewer } from "./lease-renewer.ts";
import { PollerLease } from "./poller-lease.ts";
import { ProgressWriter } from "./progress-writer.ts";

/** While jobs hold others up, how often it looks whether they run for long, in milliseconds. */
const lookMs = 100;

/**
 * One drain: a loop that fills its slots, asks {@link nextStep} what to do, does it, and waits until something changes.
 *
 * A claimed job has one owner at a time, in this order:
 *
 * - this class, while a claim is under way;
 * - `IsolatedJobs`, until a batch of isolated jobs is delegated;
 * - or `JobSlots`, until its attempt ends: in `LocalQueue` until it has a slot, and its turn if it is a suspect, and then
 *   in `AttemptPool`;
 * - `JobSettler`, until the ledger has answered its settlement.
 *
 * Beside them, `StartQueue` puts starts on record, `LeaseRenewer` holds the leases of all jobs in the queue and in the
 * pool, `PollerLease` the lane's poller lease, `ProgressWriter` the progress that is not written yet. They report
 * changes by `#wake` and nothing else; what to do about a change is decided in one place.
 *
 * Invariants:
 *
 * 1. At most one claim is awaited, and none is sent after a stop.
 * 2. No handler starts after a stop, though its start be on record: the job is released. So is what a claim brings then,
 *    but for isolated jobs, which are delegated. All jobs of a claim that was given up on are released.
 * 3. No more than `maxJobs` are claimed. A tenant that has something running takes no slot beyond its threshold, nor the
 *    last one. No more run than there are slots, but for one job each of tenants with nothing else running, while others
 *    hold more slots than one for long: then no more tenants have jobs running than there are slots.
 * 4. Every claimed job is counted once, under what became of it, before the drain ends.
 * 5. The drain ends only when no claim, delegation, start, attempt or settlement is under way.
 * 6. Whoever enqueues and then finds this drain's poller lease has its job seen: before the drain ends by itself it
 *    releases the lease and claims once more. A drain that was stopped asks in its report whether work is left.
 * 7. When not even the first claim succeeds, the drain rejects, and it holds no job and no poller lease then.
 * 8. A handler starts only after the ledger has answered that its start is on record under the job's fence. That is
 *    asked for when the job has a slot; a few milliseconds before only where the attempt that it costs decides nothing.
 * 9. No job but a suspect waits in hand for slow jobs of others: what will not start soon is released.
 */
export class Drain {
  readonly #deps: DrainDeps;
  readonly #limits: DrainLimits;
  readonly #types: readonly KnownType[];
  readonly #leases: LeaseRenewer;
  readonly #progress: ProgressWriter;
  readonly #settler: JobSettler;
  readonly #poller: PollerLease;
  readonly #slots: JobSlots;
  readonly #isolated: IsolatedJobs;
  readonly #timers: DrainTimers;
  readonly #startedAtMs: number;
  #phase: DrainPhase = { kind: "draining" };
  /** Ends the loop's wait. */
  #wake: () => void = () => {};
  /** The tenant that the last claim ended with; the next continues after it. */
  #afterTenant: string | undefined;
  /** Claims that were answered. */
  #claims = 0;
  /** Claims that failed since. */
  #claimFailures = 0;
  /** When the last claim for all tenants was sent. */
  #claimedAtMs = Number.NEGATIVE_INFINITY;
  /** When tenants that are not blocked are to be asked for beside those that are. */
  #askOthersAtMs = Number.NEGATIVE_INFINITY;
  /** Whether a timer will look at how long jobs have run. */
  #isLooking = false;
  /** When a claim last brought a job, or the drain began. */
  #lastSeenMs: number;
  /** Why the first claim failed. */
  #failure: { readonly error: unknown } | undefined;
  /** What the claims have told of the queue. */
  readonly #queue = {
    /** The last claim for all tenants was answered, and found nothing. */
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
    this.#timers = new DrainTimers(deps.clock);
    this.#isolated = new IsolatedJobs({
      ...deps,
      requestRuns: limits.requestRuns,
      settlements: this.#settler.queue,
      onSettled: (outcome) => {
        this.#counts[outcome] += 1;
      },
      onChange,
    });
    this.#slots = new JobSlots({
      ...deps,
      settler: this.#settler,
      progress: this.#progress,
      leftMs: () => this.#leftMs(),
      onEnd: () => {
        this.#queue.hasChanged = true;
        this.#wake();
      },
      onChange,
      onLost: (job, loss) => this.#lose(job, loss),
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
      this.#timers.set(() => this.#stop(), budgetMs);
      if (stopSignal?.aborted === true) this.#stop();
      else if (idleTimeoutMs > 0) this.#poller.start();
      if (budgetMs === 0 || signal?.aborted === true) this.#abort();
      await this.#loop();
    } finally {
      this.#phase = { kind: "ended" };
      signal?.removeEventListener("abort", onAbort);
      stopSignal?.removeEventListener("abort", onStop);
      this.#timers.clear();
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
      if (!this.#isStopping()) this.#slots.fill();
      const state = this.#state();
      // What ends later cannot go with it.
      if (hasNothingRunning(state)) this.#settler.flush();
      const step = nextStep(state);
      if (step.kind === "end") return;
      if (step.kind === "claim") void this.#claim(step);
      else if (step.kind === "release-poller") void this.#leave();
      else if (step.kind === "resume-poller") this.#poller.resume();
      else {
        if (state.hasBlocked) this.#lookSoon();
        const cancel = this.#timers.set(change.resolve, step.untilMs - state.nowMs);
        await change.promise;
        cancel();
      }
    }
  }

  /** What the next step is decided on. */
  #state(): DrainState {
    const { clock, batchSize } = this.#deps;
    const { deadlineMs, idleTimeoutMs, standby, maxJobs } = this.#limits;
    const nowMs = clock.now();
    const hasDeadline = deadlineMs !== Number.POSITIVE_INFINITY && this.#claims > 0;
    return {
      phase: this.#phase,
      nowMs,
      ...this.#slots.state,
      delegating: this.#isolated.size,
      isSettled: this.#settler.isIdle && this.#slots.isIdle,
      isBehind: this.#settler.isBehind,
      room: maxJobs - this.#counts.claimed,
      batchSize,
      types: this.#types,
      leftMs: hasDeadline ? this.#leftMs() : Number.POSITIVE_INFINITY,
      claimedAtMs: this.#claimedAtMs,
      askOthersAtMs: this.#askOthersAtMs,
      claimFailures: this.#claimFailures,
      hasChanged: this.#queue.hasChanged,
      isThrottled: this.#queue.isThrottled,
      idleMs: nowMs - this.#lastSeenMs,
      idleTimeoutMs,
      standby,
      poller: this.#poller,
    };
  }

  /** How long what starts now may take. */
  #leftMs(): number {
    return this.#limits.deadlineMs - (this.#deps.clock.now() - this.#startedAtMs);
  }

  async #claim({ limit, types, except }: ClaimStep): Promise<void> {
    const { buckets, clock, lane, leaseMs, logger, owner, versions } = this.#deps;
    const exceptTenants = this.#slots.tenantsToPass(except);
    const isForAll = except === "stalled";
    const phaseBefore = this.#phase;
    const claimedAtMs = clock.now();
    this.#phase = { kind: "claiming" };
    if (isForAll) {
      this.#claimedAtMs = claimedAtMs;
      this.#queue.hasChanged = false;
    }
    this.#queue.hasPassedOver ||= types.length < this.#types.length;
    try {
      const { jobs, lastTenant, throttled } = await requestJobs(
        {
          lane,
          buckets,
          types,
          versions,
          limit,
          leaseMs,
          owner,
          ...defined({
            afterTenant: this.#afterTenant,
            exceptTenants: exceptTenants.length > 0 ? exceptTenants : undefined,
          }),
        },
        this.#deps,
      );
      const isEmpty = jobs.length === 0;
      this.#claims += 1;
      this.#claimFailures = 0;
      this.#afterTenant = lastTenant ?? this.#afterTenant;
      this.#counts.claimed += jobs.length;
      if (isForAll || !isEmpty) this.#queue.isEmpty = isEmpty && exceptTenants.length === 0;
      if (isForAll) this.#queue.isThrottled = throttled;
      // What a claim for all brings of other tenants starts at once.
      if (isForAll || isEmpty) this.#askOthersAtMs = clock.now() + askOthersAfterMs;
      for (const job of this.#isolated.take(jobs, claimedAtMs)) this.#accept(job, claimedAtMs);
      if (!isEmpty) {
        this.#lastSeenMs = clock.now();
        if (this.#limits.idleTimeoutMs > 0 && !this.#isStopping()) this.#poller.start();
        this.#endClaim({ kind: "draining" });
      } else if (isForAll) {
        const idleMs = clock.now() - this.#lastSeenMs;
        this.#endClaim(this.#idle(pollAfterMs({ isHeld: this.#poller.isHeld, idleMs })));
      } else this.#endClaim(phaseBefore);
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
      this.#endClaim(this.#idle(claimRetryAfterMs(this.#claimFailures)));
    }
  }

  /** The phase in which it claims again after so many milliseconds. */
  #idle(forMs: number): DrainPhase {
    return { kind: "idle", askAgainAtMs: this.#deps.clock.now() + forMs };
  }

  /** Continues in a phase after a claim, unless it stops. */
  #endClaim(next: DrainPhase): void {
    if (this.#isStopping()) {
      this.#phase = { kind: "stopping", isClaiming: false };
      this.#releaseWaiting();
    } else this.#phase = next;
    this.#wake();
  }

  #accept(job: ClaimedJob, claimedAtMs: number): void {
    const handler = this.#deps.handlers.get(job.type);
    if (handler === undefined) return;
    // Its lease expired unnoticed, and this very drain claimed it again.
    if (this.#slots.add(job, handler)) this.#counts.lost += 1;
    this.#leases.track(job.id, job.fence, claimedAtMs, (loss) => this.#lose(job, loss));
  }

  /** Drops a job that is no longer this drain's. */
  #lose(job: ClaimedJob, loss: Loss): void {
    this.#counts[loss] += 1;
    const { id: jobId, type, tenantId, attempt } = job;
    const fields = { jobId, type, tenantId, attempt };
    if (loss === "cancelled") this.#deps.logger.info("job.cancelled", fields);
    else this.#deps.logger.warn("job.lease_lost", fields);
    this.#leases.untrack(job.id);
    this.#slots.lose(job.id, loss);
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
    for (const job of this.#slots.close()) this.#settler.release(job);
  }

  #abort(): void {
    this.#slots.interrupt();
    this.#timers.set(() => this.#slots.abandon(), this.#limits.abortGraceMs);
    this.#stop();
  }

  /** Looks after a while at how long jobs have run, and releases what waits for those that take long. */
  #lookSoon(): void {
    if (this.#isLooking) return;
    this.#isLooking = true;
    this.#timers.set(() => {
      this.#isLooking = false;
      for (const job of this.#slots.takeSurplus()) this.#settler.release(job);
      this.#wake();
    }, lookMs);
  }

  /** `wasPolling`: somebody may rely on a look at the queue that comes only now. */
  async #report(wasPolling: boolean): Promise<DrainReport> {
    const { signal, stopSignal } = this.#limits;
    const { isEmpty, isThrottled, hasChanged, hasPassedOver } = this.#queue;
    const remains = await readRemains({
      ...this.#deps,
      types: this.#types.map(({ type }) => type),
      patienceMs: this.#deps.leaseMs / 2,
      isThrough: isEmpty && !isThrottled && !hasChanged && !wasPolling && !hasPassedOver,
    });
    const stopped = signal?.aborted === true || stopSignal?.aborted === true;
    return { ...this.#counts, ...remains, throttled: wasPolling && isThrottled, stopped };
  }
}
