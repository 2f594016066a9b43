import type { Logger } from "@evenkeel/events";
import { isUnreachable, type JobStore, type Settlement } from "@evenkeel/ledger";

import { within, type Clock } from "./clock.ts";
import { describeError } from "./settlement-decision.ts";

/** How long a finished job waits for others to be settled with it, in milliseconds. */
const settlementWaitMs: number = 20;

/** Most settlements in one statement. */
const maxBatch = 500;

const firstRetryMs = 50;
const longestRetryMs = 1_000;

interface PendingSettlement {
  readonly settlement: Settlement;
  /** Until when the lease is good, by the runner's clock: no try is made after it. */
  readonly deadlineMs: number;
  readonly onSettled: (accepted: boolean) => void;
}

/**
 * Writes settlements in batches, in the order they were added. One statement is under way at a time, and
 * what comes in meanwhile goes with the next. A batch that fails is tried again while its leases hold.
 */
export class SettlementQueue {
  readonly #jobs: Pick<JobStore, "settle">;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #onIdle: () => void;
  #pending: PendingSettlement[] = [];
  #isWriting = false;
  #cancelTimer: (() => void) | undefined;

  constructor(deps: {
    readonly jobs: Pick<JobStore, "settle">;
    readonly clock: Clock;
    readonly logger: Logger;
    /** Called after a batch when nothing is left to write. */
    readonly onIdle: () => void;
  }) {
    this.#jobs = deps.jobs;
    this.#clock = deps.clock;
    this.#logger = deps.logger;
    this.#onIdle = deps.onIdle;
  }

  get isIdle(): boolean {
    return !this.#isWriting && this.#pending.length === 0;
  }

  add(item: PendingSettlement): void {
    this.#pending.push(item);
    if (this.#isWriting) return;
    if (this.#pending.length >= maxBatch) this.flush();
    else this.#cancelTimer ??= this.#clock.setTimer(() => this.flush(), settlementWaitMs);
  }

  /** Writes what is there without waiting for more. */
  flush(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    if (this.#isWriting || this.#pending.length === 0) return;
    this.#isWriting = true;
    const batch = this.#pending.splice(0, maxBatch);
    void this.#write(batch).then(() => {
      this.#isWriting = false;
      // What came in during the write has waited long enough.
      if (this.#pending.length > 0) this.flush();
      else this.#onIdle();
    });
  }

  async #write(batch: readonly PendingSettlement[]): Promise<void> {
    let open = batch;
    for (let delayMs = firstRetryMs; open.length > 0; delayMs *= 2) {
      try {
        const accepted = await within(
          this.#clock,
          Math.max(...open.map(({ deadlineMs }) => deadlineMs)) - this.#clock.now(),
          this.#jobs.settle(open.map(({ settlement }) => settlement)),
        );
        if (accepted === undefined) {
          this.#logger.warn("job.settle_unanswered", { jobs: open.length });
          for (const item of open) item.onSettled(false);
          return;
        }
        for (const item of open) item.onSettled(accepted.has(item.settlement.id));
        return;
      } catch (error) {
        const { code, message } = describeError(error);
        this.#logger.warn("job.settle_failed", { jobs: open.length, code, error: message });
        if (!isUnreachable(error) && open.length > 1) {
          // One row may be what the database cannot take: the others must not wait for it.
          const half = Math.ceil(open.length / 2);
          await this.#write(open.slice(0, half));
          await this.#write(open.slice(half));
          return;
        }
      }
      await this.#sleep(Math.min(delayMs, longestRetryMs));
      const nowMs = this.#clock.now();
      for (const item of open) if (item.deadlineMs <= nowMs) item.onSettled(false);
      open = open.filter(({ deadlineMs }) => deadlineMs > nowMs);
    }
  }

  #sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#clock.setTimer(resolve, delayMs);
    });
  }
}
