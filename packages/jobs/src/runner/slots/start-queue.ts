import { withDeadline, type Clock, type Logger } from "@evenkeel/core";
import type { JobStore } from "@evenkeel/ledger";

import { describeError } from "../../definition/error-description.ts";
import type { WaitingJob } from "./local-queue.ts";

/** Most starts in one statement. */
const maxBatch = 5_000;

const firstRetryMs = 50;
const longestRetryMs = 1_000;

/** What became of a start: it is on record, its job is another's, or it could not be put on record in time. */
export type StartOutcome = "marked" | "lost" | "failed";

interface PendingStart {
  readonly waiting: WaitingJob;
  /** No try is made after it. */
  readonly deadlineMs: number;
}

/**
 * Puts on record in the ledger that jobs start, in batches, before their handlers do. One statement is under way at a
 * time, and what comes in meanwhile goes with the next. A batch that fails is tried again for half a lease: a start that
 * is on record already counts once.
 */
export class StartQueue {
  readonly #jobs: Pick<JobStore, "start">;
  readonly #leaseMs: number;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #onOutcome: (waiting: WaitingJob, outcome: StartOutcome) => void;
  readonly #onWritten: () => void;
  #pending: PendingStart[] = [];
  #isWriting = false;
  #isClosed = false;

  constructor(deps: {
    readonly jobs: Pick<JobStore, "start">;
    readonly leaseMs: number;
    readonly clock: Clock;
    readonly logger: Logger;
    /** Called for each job, but for those dropped before. */
    readonly onOutcome: (waiting: WaitingJob, outcome: StartOutcome) => void;
    /** Called after every batch. */
    readonly onWritten: () => void;
  }) {
    this.#jobs = deps.jobs;
    this.#leaseMs = deps.leaseMs;
    this.#clock = deps.clock;
    this.#logger = deps.logger;
    this.#onOutcome = deps.onOutcome;
    this.#onWritten = deps.onWritten;
  }

  get isIdle(): boolean {
    return !this.#isWriting && this.#pending.length === 0;
  }

  get isWriting(): boolean {
    return this.#isWriting;
  }

  /** Adds a start to the next batch. */
  add(waiting: WaitingJob): void {
    waiting.mark = "asked";
    this.#pending.push({ waiting, deadlineMs: this.#clock.now() + this.#leaseMs / 2 });
  }

  /** Writes what is there, unless a batch is being written: then it is for the caller to ask again. */
  flush(): void {
    if (this.#isWriting || this.#pending.length === 0) return;
    this.#isWriting = true;
    const batch = this.#pending.slice(0, maxBatch);
    this.#pending = this.#pending.slice(maxBatch);
    void this.#write(batch).then(() => {
      this.#isWriting = false;
      this.#onWritten();
    });
  }

  /** Nothing starts any more: what was not sent is dropped, and a batch that fails is not tried again. */
  close(): void {
    this.#isClosed = true;
    this.#pending = [];
  }

  async #write(batch: readonly PendingStart[]): Promise<void> {
    let open = batch;
    for (let delayMs = firstRetryMs; open.length > 0; delayMs *= 2) {
      try {
        const lastDeadlineMs = Math.max(...open.map(({ deadlineMs }) => deadlineMs));
        const claims = open.map(({ waiting: { job } }) => ({ id: job.id, fence: job.fence }));
        const held = await withDeadline(
          lastDeadlineMs - this.#clock.now(),
          () => this.#jobs.start(claims),
          this.#clock,
        );
        for (const { waiting } of open) {
          this.#onOutcome(waiting, held.has(waiting.job.id) ? "marked" : "lost");
        }
        return;
      } catch (error) {
        const { code, message } = describeError(error);
        this.#logger.warn("job.start_failed", { jobs: open.length, code, error: message });
      }
      if (!this.#isClosed) await this.#sleep(Math.min(delayMs, longestRetryMs));
      const nowMs = this.#isClosed ? Number.POSITIVE_INFINITY : this.#clock.now();
      for (const { waiting, deadlineMs } of open) {
        if (deadlineMs <= nowMs) this.#onOutcome(waiting, "failed");
      }
      open = open.filter(({ deadlineMs }) => deadlineMs > nowMs);
    }
  }

  #sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#clock.setTimer(resolve, delayMs);
    });
  }
}
