import type { Clock, Logger } from "@evenkeel/core";
import type { ClaimedJob, JobStore } from "@evenkeel/ledger";

import type { Loss } from "./abort-reasons.ts";
import { Attempt, refusalOf } from "./attempt.ts";
import type { JobSettler } from "./job-settler.ts";
import type { ProgressWriter } from "./progress-writer.ts";
import { CancellationWatch } from "./slots/cancellation-watch.ts";
import type { WaitingJob } from "./slots/local-queue.ts";
import { movingAverage } from "./slots/prefetch.ts";
import type { SuspectGate } from "./slots/suspect-gate.ts";
import type { TenantSlots } from "./slots/tenant-slots.ts";

/** What the attempts of a drain need. */
interface AttemptPoolDeps {
  readonly jobs: Pick<JobStore, "effects" | "standingOf">;
  readonly slots: TenantSlots;
  readonly settler: JobSettler;
  readonly progress: ProgressWriter;
  readonly suspects: SuspectGate;
  readonly clock: Clock;
  readonly logger: Logger;
  /** How long what starts now may take, in milliseconds. */
  readonly leftMs: () => number;
  /** Called after every attempt's end, whatever became of it. */
  readonly onEnd: (job: ClaimedJob) => void;
  /** Called for a job that was cancelled while its handler runs. */
  readonly onCancelled: (job: ClaimedJob) => void;
}

interface PooledAttempt {
  readonly waiting: WaitingJob;
  readonly attempt: Attempt;
  readonly start: () => void;
}

/**
 * The attempts that a drain has under way, by job. A job takes a slot before its handler starts, and until its attempt
 * ends; then it belongs to the settler. A handler that continues after its attempt has ended takes no slot.
 */
export class AttemptPool {
  readonly #deps: AttemptPoolDeps;
  readonly #attempts = new Map<string, PooledAttempt>();
  readonly #watch: CancellationWatch;
  #averageMs: number | undefined;

  constructor(deps: AttemptPoolDeps) {
    this.#deps = deps;
    this.#watch = new CancellationWatch(deps);
  }

  /** How long an attempt takes on average, in milliseconds; `undefined` while none has ended. */
  get averageMs(): number | undefined {
    return this.#averageMs;
  }

  /** Gives a job a slot. One that is not to be started at all is settled before this returns. */
  add(waiting: WaitingJob): void {
    const { clock, jobs, leftMs, logger, progress, settler, slots } = this.#deps;
    const { job, handler } = waiting;
    let startedAtMs: number | undefined;
    const attempt = new Attempt({
      job,
      clock,
      logger,
      complete: (tx, result) => settler.completeIn(job, tx, result),
      effects: jobs.effects,
      whyRefused: () => settler.whyRefused(job),
      onProgress: (done, total) => progress.add({ id: job.id, fence: job.fence, done, total }),
      onEnd: (outcome) => {
        this.#attempts.delete(job.id);
        slots.free(job.id);
        this.#deps.suspects.leave(job);
        progress.untrack(job.id);
        this.#watch.end(job);
        if (startedAtMs !== undefined) {
          this.#averageMs = movingAverage(this.#averageMs, clock.now() - startedAtMs);
        }
        if (outcome !== undefined) settler.settleOutcome(job, handler, outcome);
        this.#deps.onEnd(job);
      },
    });
    slots.take(job.id, job.tenantId);
    const start = (): void => {
      startedAtMs = clock.now();
      slots.start(job.id, startedAtMs);
      this.#watch.start(job);
      attempt.start(handler, leftMs());
    };
    this.#attempts.set(job.id, { waiting, attempt, start });
    const refusal = refusalOf(job, handler);
    if (refusal !== undefined) attempt.refuse(refusal);
  }

  /** Whether a job has a slot under this claim, and its handler is yet to be started. */
  isUnstarted(waiting: WaitingJob): boolean {
    const pooled = this.#attempts.get(waiting.job.id);
    return pooled?.waiting === waiting && !pooled.attempt.hasStarted;
  }

  /** Starts the handler of a job that has a slot. Its attempt may end before this returns. */
  start({ job }: WaitingJob): void {
    this.#attempts.get(job.id)?.start();
  }

  /** Ends the attempt of a job that is no longer the drain's. Returns whether there was one. */
  lose(jobId: string, loss: Loss): boolean {
    const pooled = this.#attempts.get(jobId);
    pooled?.attempt.lose(loss);
    return pooled !== undefined;
  }

  /** Takes the jobs back whose handlers were not started, or one of them. */
  takeUnstarted(jobId?: string): ClaimedJob[] {
    const unstarted = [...this.#attempts.values()].filter(
      ({ attempt, waiting }) =>
        !attempt.hasStarted && (jobId === undefined || waiting.job.id === jobId),
    );
    for (const { attempt } of unstarted) attempt.refuse(undefined);
    return unstarted.map(({ waiting }) => waiting.job);
  }

  /** Fires the signals of all attempts, for their handlers to stop by themselves. */
  interrupt(): void {
    for (const { attempt } of this.#attempts.values()) attempt.interrupt();
  }

  /** Ends the attempts whose handlers did not stop. */
  abandon(): void {
    for (const { attempt } of this.#attempts.values()) attempt.abandon();
  }
}
