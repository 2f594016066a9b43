import type { Logger, Clock } from "@evenkeel/core";
import type { JobStore, ProgressReport } from "@evenkeel/ledger";

import { describeError } from "../definition/error-description.ts";
import { JobError } from "../job-error.ts";

/** The least time between two writes, in milliseconds. */
const writeEveryMs = 1_000;

/**
 * Writes how far a drain's jobs are, the latest of all of them in one statement, at most once a second. A note
 * that cannot be written is lost, and nothing waits for it.
 */
export class ProgressWriter {
  readonly #jobs: Pick<JobStore, "recordProgress">;
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** By job. */
  readonly #reports = new Map<string, ProgressReport>();
  #cancelTimer: (() => void) | undefined;
  #isWriting = false;
  #writtenAtMs = Number.NEGATIVE_INFINITY;

  constructor(deps: {
    readonly jobs: Pick<JobStore, "recordProgress">;
    readonly clock: Clock;
    readonly logger: Logger;
  }) {
    this.#jobs = deps.jobs;
    this.#clock = deps.clock;
    this.#logger = deps.logger;
  }

  add(report: ProgressReport): void {
    this.#reports.set(report.id, report);
    this.#schedule();
  }

  /** Drops what was not written about a job that is settled now. */
  untrack(id: string): void {
    this.#reports.delete(id);
  }

  /** Ends all writing. */
  stop(): void {
    this.#reports.clear();
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  #schedule(): void {
    if (this.#isWriting || this.#cancelTimer !== undefined) return;
    const delayMs = Math.max(0, this.#writtenAtMs + writeEveryMs - this.#clock.now());
    this.#cancelTimer = this.#clock.setTimer(() => {
      this.#cancelTimer = undefined;
      void this.#write();
    }, delayMs);
  }

  async #write(): Promise<void> {
    const reports = [...this.#reports.values()];
    this.#reports.clear();
    if (reports.length === 0) return;
    this.#isWriting = true;
    this.#writtenAtMs = this.#clock.now();
    try {
      await this.#jobs.recordProgress(reports);
    } catch (error) {
      const { code, message } = describeError(error);
      this.#logger.warn("job.progress_failed", { jobs: reports.length, code, error: message });
    }
    this.#isWriting = false;
    if (this.#reports.size > 0) this.#schedule();
  }
}

/** @throws JobError `invalid_options` unless `0 <= done <= total`, both finite. */
export function checkProgress(done: number, total: number): void {
  if (Number.isFinite(done) && Number.isFinite(total) && done >= 0 && done <= total) return;
  throw new JobError(
    "invalid_options",
    `Progress is a number from 0 to the total; got ${done} of ${total}.`,
    { done, total },
  );
}
