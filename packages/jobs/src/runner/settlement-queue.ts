import { DeadlineExceededError, withDeadline, type Clock, type Logger } from "@evenkeel/core";
import {
  isUnreachable,
  type ClaimStanding,
  type JobStore,
  type Settlement,
} from "@evenkeel/ledger";

import { describeError } from "../definition/error-description.ts";
import type { Loss } from "./abort-reasons.ts";

/** Most settlements in one statement. */
const maxBatch = 5_000;

/** How long a response is awaited even if the leases have run out: the jobs may not have been claimed again. */
const leastPatienceMs = 1_000;

const firstRetryMs = 50;
const longestRetryMs = 1_000;

/** How long a settlement waits whose job another transaction has locked, in milliseconds. */
const lockedRetryMs = 500;

/** What became of a settlement: it was accepted, or refused as the job was cancelled or is no longer held. */
export type SettlementAnswer = "accepted" | Loss;

interface PendingSettlement {
  readonly settlement: Settlement;
  /** Until when the lease is good, by the runner's clock: no try is made after it. */
  readonly deadlineMs: number;
  readonly onSettled: (answer: SettlementAnswer) => void;
}

/**
 * Writes settlements in batches, in the order they were added. One statement is under way at a time, and
 * what comes in meanwhile goes with the next. A batch that fails is tried again while its leases hold. What another
 * transaction has locked (a handler's own, or a caller's that cancels it) is tried again beside the others.
 */
export class SettlementQueue {
  readonly #jobs: Pick<JobStore, "settle" | "standingOf">;
  readonly #settleDelayMs: number;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #onWritten: () => void;
  /** By job. */
  readonly #pending = new Map<string, PendingSettlement>();
  #isWriting = false;
  /** Settlements whose jobs were locked, by job, and whether they are being tried again, all of them together. */
  readonly #locked = new Map<string, PendingSettlement>();
  #isWritingLocked = false;
  #writingCount = 0;
  #writingSinceMs = 0;
  #cancelTimer: (() => void) | undefined;

  constructor(deps: {
    readonly jobs: Pick<JobStore, "settle" | "standingOf">;
    /** How long a finished job waits for others to be settled with it, in milliseconds. */
    readonly settleDelayMs: number;
    readonly clock: Clock;
    readonly logger: Logger;
    /** Called after every batch. */
    readonly onWritten: () => void;
  }) {
    this.#jobs = deps.jobs;
    this.#settleDelayMs = deps.settleDelayMs;
    this.#clock = deps.clock;
    this.#logger = deps.logger;
    this.#onWritten = deps.onWritten;
  }

  get isIdle(): boolean {
    return !this.#isWriting && this.#pending.size === 0 && !this.#isWritingLocked;
  }

  /** How many wait for a response. */
  get size(): number {
    return this.#writingCount + this.#pending.size;
  }

  /** How long the write under way has taken, in milliseconds; 0 without one. */
  get writingForMs(): number {
    return this.#isWriting ? this.#clock.now() - this.#writingSinceMs : 0;
  }

  add(item: PendingSettlement): void {
    const { id } = item.settlement;
    // The job was claimed again before an older claim's result was written: that one's fence is gone.
    this.#pending.get(id)?.onSettled("lost");
    this.#pending.set(id, item);
    if (this.#isWriting) return;
    if (this.#pending.size >= maxBatch) this.flush();
    else this.#cancelTimer ??= this.#clock.setTimer(() => this.flush(), this.#settleDelayMs);
  }

  /** Writes what is there without waiting for more. */
  flush(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    if (this.#isWriting || this.#pending.size === 0) return;
    this.#isWriting = true;
    const batch = [...this.#pending.values()].slice(0, maxBatch);
    for (const { settlement } of batch) this.#pending.delete(settlement.id);
    this.#writingCount = batch.length;
    this.#writingSinceMs = this.#clock.now();
    void this.#write(batch).then(() => {
      this.#isWriting = false;
      this.#writingCount = 0;
      // What came in during the write has waited long enough.
      this.flush();
      this.#onWritten();
    });
  }

  async #write(batch: readonly PendingSettlement[]): Promise<void> {
    let open = batch;
    let mayBeWritten = false;
    for (let delayMs = firstRetryMs; open.length > 0; delayMs *= 2) {
      try {
        const lastDeadlineMs = Math.max(...open.map(({ deadlineMs }) => deadlineMs));
        const accepted = await withDeadline(
          Math.max(leastPatienceMs, lastDeadlineMs - this.#clock.now()),
          () => this.#jobs.settle(open.map(({ settlement }) => settlement)),
          this.#clock,
        );
        await this.#answer(open, accepted, mayBeWritten);
        return;
      } catch (error) {
        if (error instanceof DeadlineExceededError) {
          this.#logger.warn("job.settle_unanswered", { jobs: open.length });
          for (const item of open) item.onSettled("lost");
          return;
        }
        mayBeWritten ||= isUnreachable(error);
        const { code, message } = describeError(error);
        this.#logger.warn("job.settle_failed", { jobs: open.length, code, error: message });
        if (isDataFault(error)) return await this.#bisect(open);
      }
      await this.#sleep(Math.min(delayMs, longestRetryMs));
      const nowMs = this.#clock.now();
      for (const item of open) if (item.deadlineMs <= nowMs) item.onSettled("lost");
      open = open.filter(({ deadlineMs }) => deadlineMs > nowMs);
    }
  }

  async #answer(
    batch: readonly PendingSettlement[],
    accepted: ReadonlySet<string>,
    mayBeWritten: boolean,
  ): Promise<void> {
    const nowMs = this.#clock.now();
    const refused = batch.filter(({ settlement }) => !accepted.has(settlement.id));
    for (const { settlement, onSettled } of batch) {
      if (accepted.has(settlement.id)) onSettled("accepted");
    }
    if (refused.length === 0) return;
    const standings = await this.#standingsOf(refused);
    const locked: PendingSettlement[] = [];
    for (const item of refused) {
      const standing = standings?.get(item.settlement.id) ?? "lost";
      const isLeased = nowMs < item.deadlineMs;
      if (standing === "cancelled") item.onSettled("cancelled");
      else if (standing === "held" && isLeased) locked.push(item);
      // No other claims a job while its lease holds: what is gone by then was settled by a try without a response.
      else item.onSettled(standing === "lost" && mayBeWritten && isLeased ? "accepted" : "lost");
    }
    this.#writeLater(locked);
  }

  /** Returns where claims stand; `undefined` where the ledger does not say. */
  async #standingsOf(
    batch: readonly PendingSettlement[],
  ): Promise<ReadonlyMap<string, ClaimStanding> | undefined> {
    const claims = batch.map(({ settlement: { id, fence } }) => ({ id, fence }));
    try {
      return await withDeadline(leastPatienceMs, () => this.#jobs.standingOf(claims), this.#clock);
    } catch (error) {
      const { code, message } = describeError(error);
      this.#logger.warn("job.standing_failed", { jobs: batch.length, code, error: message });
      return undefined;
    }
  }

  #writeLater(batch: readonly PendingSettlement[]): void {
    for (const item of batch) {
      const { id } = item.settlement;
      // As for one that was added: of two claims the later one's is current.
      this.#locked.get(id)?.onSettled("lost");
      this.#locked.set(id, item);
    }
    if (this.#locked.size > 0 && !this.#isWritingLocked) void this.#writeLocked();
  }

  /** One statement for all of them: each waits for a lock, on one of the few connections of all settlements and starts. */
  async #writeLocked(): Promise<void> {
    this.#isWritingLocked = true;
    while (this.#locked.size > 0) {
      await this.#sleep(lockedRetryMs);
      const batch = [...this.#locked.values()].slice(0, maxBatch);
      for (const { settlement } of batch) this.#locked.delete(settlement.id);
      await this.#write(batch);
      this.#onWritten();
    }
    this.#isWritingLocked = false;
    this.#onWritten();
  }

  /** One settlement is what the database cannot take: the others must not wait for it. */
  async #bisect(batch: readonly PendingSettlement[]): Promise<void> {
    if (batch.length === 1) {
      // The same again would fail again. The lease expires, and the job is given to its next attempt.
      for (const item of batch) item.onSettled("lost");
      return;
    }
    const half = Math.ceil(batch.length / 2);
    await this.#write(batch.slice(0, half));
    await this.#write(batch.slice(half));
  }

  #sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#clock.setTimer(resolve, delayMs);
    });
  }
}

/** Postgres' classes 22 (data), 23 (constraints) and 54 (limits): what was sent is at fault. */
function isDataFault(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return "code" in error && /^(?:22|23|54)...$/u.test(String(error.code));
}
