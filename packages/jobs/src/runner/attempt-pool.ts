import { withDeadline, type Clock, type Logger } from "@evenkeel/core";
import type { ClaimedJob, JobStore } from "@evenkeel/ledger";

import { describeError } from "../definition/error-description.ts";
import type { JobHandler } from "../definition/job-handler.ts";
import { Attempt } from "./attempt.ts";
import type { JobSettler } from "./job-settler.ts";
import { averageDuration } from "./prefetch.ts";
import type { ProgressWriter } from "./progress-writer.ts";
import type { SuspectGate } from "./suspect-gate.ts";

/** What the attempts of a drain need. */
interface AttemptPoolDeps {
  readonly jobs: JobStore;
  readonly settler: JobSettler;
  readonly progress: ProgressWriter;
  readonly suspects: SuspectGate;
  readonly leaseMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** How long what starts now may take, in milliseconds. */
  readonly leftMs: () => number;
  /** Called after every attempt's end, whatever became of it. */
  readonly onEnd: () => void;
  /** Called for a job that turns out to be another's before it has started. */
  readonly onLost: (job: ClaimedJob) => void;
}

/**
 * The attempts that a drain has under way, by job. A job takes a slot from its start until its attempt ends, and
 * then belongs to the settler. A handler that continues after its attempt has ended takes no slot.
 */
export class AttemptPool {
  readonly #deps: AttemptPoolDeps;
  readonly #attempts = new Map<string, Attempt>();
  #averageMs: number | undefined;

  constructor(deps: AttemptPoolDeps) {
    this.#deps = deps;
  }

  /** Slots that are taken. */
  get size(): number {
    return this.#attempts.size;
  }

  /** How long an attempt takes on average, in milliseconds; `undefined` while none has ended. */
  get averageMs(): number | undefined {
    return this.#averageMs;
  }

  /** Starts a job. Its attempt may end before this returns. */
  start(job: ClaimedJob, handler: JobHandler): void {
    const { clock, jobs, logger, progress, settler } = this.#deps;
    const startedAtMs = clock.now();
    const attempt = new Attempt({
      job,
      clock,
      logger,
      complete: (tx, result) => settler.completeIn(job, tx, result),
      effects: jobs.effects,
      onProgress: (done, total) => progress.add({ id: job.id, fence: job.fence, done, total }),
      onEnd: (outcome) => {
        this.#attempts.delete(job.id);
        this.#deps.suspects.leave(job);
        progress.untrack(job.id);
        this.#averageMs = averageDuration(this.#averageMs, clock.now() - startedAtMs);
        if (outcome !== undefined) settler.settleOutcome(job, handler, outcome);
        this.#deps.onEnd();
      },
    });
    this.#attempts.set(job.id, attempt);
    void this.#start(attempt, job, handler);
  }

  /** Ends the attempt of a job that is no longer the drain's. Returns whether there was one. */
  lose(jobId: string): boolean {
    const attempt = this.#attempts.get(jobId);
    attempt?.lose();
    return attempt !== undefined;
  }

  /** Fires the signals of all attempts, for their handlers to stop by themselves. */
  interrupt(): void {
    for (const attempt of this.#attempts.values()) attempt.interrupt();
  }

  /** Ends the attempts whose handlers did not stop. */
  abandon(): void {
    for (const attempt of this.#attempts.values()) attempt.abandon();
  }

  /** Starts the handler once its attempt counts: should the worker die, what it only held goes back as it was. */
  async #start(attempt: Attempt, job: ClaimedJob, handler: JobHandler): Promise<void> {
    const { clock, jobs, leaseMs, logger } = this.#deps;
    try {
      const held = await withDeadline(leaseMs / 2, () => jobs.start([job]), clock);
      if (!held.has(job.id)) {
        this.#deps.onLost(job);
        return;
      }
    } catch (error) {
      logger.warn("job.start_unrecorded", { jobId: job.id, error: describeError(error).message });
    }
    // It may have been lost or abandoned meanwhile.
    if (this.#attempts.get(job.id) === attempt) attempt.start(handler, this.#deps.leftMs());
  }
}
