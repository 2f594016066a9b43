import type { Clock, Logger } from "@evenkeel/core";
import type { ClaimedJob, JobStore } from "@evenkeel/ledger";

import type { JobHandler } from "../definition/job-handler.ts";
import type { Loss } from "./abort-reasons.ts";
import { AttemptPool } from "./attempt-pool.ts";
import type { JobSettler } from "./job-settler.ts";
import type { ProgressWriter } from "./progress-writer.ts";
import { LocalQueue, type WaitingJob } from "./slots/local-queue.ts";
import { estimateBytes, movingAverage, stockMs, stockTarget } from "./slots/prefetch.ts";
import { StartQueue, type StartOutcome } from "./slots/start-queue.ts";
import type { SuspectGate } from "./slots/suspect-gate.ts";
import { TenantSlots, type SlotRoom } from "./slots/tenant-slots.ts";

/** Starts are marked ahead of their slots for as many jobs as pass in so many milliseconds. */
const aheadMs = 5;

/** The most that are, whatever the pace: more in a statement would hardly make it cheaper. */
const mostAhead = 1_000;

/** How long a mark is good for a start, in milliseconds: what is cancelled after it starts no later. */
const staleMarkMs = 100;

/** What the jobs in a drain's hands need on their way to a settlement. */
interface JobSlotsDeps {
  readonly jobs: Pick<JobStore, "effects" | "start" | "standingOf">;
  readonly settler: JobSettler;
  readonly progress: ProgressWriter;
  readonly suspects: SuspectGate;
  readonly concurrency: number;
  readonly batchSize: number;
  readonly singleTenant: boolean;
  readonly leaseMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** How long what starts now may take, in milliseconds. */
  readonly leftMs: () => number;
  /** Called after every attempt's end. */
  readonly onEnd: () => void;
  /** Called when something else has changed. */
  readonly onChange: () => void;
  /** Called for a job that turns out to be another's before it has started, or cancelled while it runs. */
  readonly onLost: (job: ClaimedJob, loss: Loss) => void;
}

/** What a drain has in hand. */
export interface SlotState extends SlotRoom {
  /** Slots that are taken. */
  readonly running: number;
  /** Jobs that wait for a slot, or for their turn as suspects. */
  readonly waiting: number;
  /** How many should wait, so that slots need not wait for a claim. */
  readonly stock: number;
}

/**
 * A drain's slots, from a claimed job's wait to its attempt's end. A job waits in `LocalQueue` until it has a slot, then
 * in `AttemptPool` until its start is on record (`StartQueue`), then its handler starts.
 *
 * The start of a quick job may be put on record before it has a slot, as jobs of some microseconds would otherwise need a
 * statement for every round of the slots. Only jobs for which an attempt and a crash too many decide nothing are: what
 * is marked so and never starts, as its worker dies within milliseconds, loses an attempt that it never had.
 */
export class JobSlots {
  readonly #deps: JobSlotsDeps;
  readonly #slots: TenantSlots;
  readonly #waiting: LocalQueue;
  readonly #pool: AttemptPool;
  readonly #starts: StartQueue;
  #averageBytes: number | undefined;
  /** The tenants that were stalled at the last two looks, and at the last one. */
  #stalled: ReadonlySet<string> = new Set();
  #seenStalled: ReadonlySet<string> = new Set();
  /** Whether too much waited at the last look. */
  #hadTooMuch = false;

  constructor(deps: JobSlotsDeps) {
    this.#deps = deps;
    this.#slots = new TenantSlots({ slots: deps.concurrency, isShared: !deps.singleTenant });
    this.#waiting = new LocalQueue(this.#slots, deps.suspects, deps.onChange);
    this.#pool = new AttemptPool({
      ...deps,
      slots: this.#slots,
      onEnd: ({ tenantId }) => {
        this.#waiting.moveTenant(tenantId);
        deps.onEnd();
      },
      onCancelled: (job) => deps.onLost(job, "cancelled"),
    });
    this.#starts = new StartQueue({
      ...deps,
      onOutcome: (waiting, outcome) => this.#onStartOutcome(waiting, outcome),
      onWritten: deps.onChange,
    });
  }

  /** Whether no start is being put on record. */
  get isIdle(): boolean {
    return this.#starts.isIdle;
  }

  get state(): SlotState {
    const { open, hasBlocked } = this.#slots.room(this.#deps.clock.now());
    return {
      hasBlocked,
      open: this.#awaitsMarks() ? Math.max(0, open - this.#waiting.ready) : open,
      running: this.#slots.size,
      waiting: this.#waiting.size,
      stock: this.#stock(),
    };
  }

  /** The tenants of which a claim should bring nothing: those that may start none now, or those that will not soon. */
  tenantsToPass(which: "blocked" | "stalled"): string[] {
    if (which === "stalled") return [...this.#stalledTenants()];
    return this.#slots.blockedTenants(this.#deps.clock.now());
  }

  /** Takes a claimed job. Returns whether an older claim of it was in hand, which is dropped. */
  add(job: ClaimedJob, handler: JobHandler): boolean {
    const isInHand = this.lose(job.id, "lost");
    this.#averageBytes = movingAverage(this.#averageBytes, estimateBytes(job.payload));
    const isLast = job.attempt >= job.maxAttempts;
    const mayMark = !isLast && job.crashes === 0 && handler.definition.maxCrashes > 1;
    this.#waiting.add(job, handler, mayMark);
    return isInHand;
  }

  /** Drops a job that is no longer the drain's. Returns whether it was in hand. */
  lose(jobId: string, loss: Loss): boolean {
    return this.#pool.lose(jobId, loss) || this.#waiting.delete(jobId) !== undefined;
  }

  /** Gives slots to those that may have one, and starts those whose starts are on record. */
  fill(): void {
    const { clock } = this.#deps;
    // Whose was made a while ago may have been cancelled since: asking again counts nothing.
    this.#waiting.forgetMarks(clock.now() - staleMarkMs);
    const awaitsMarks = this.#awaitsMarks();
    for (;;) {
      const next = this.#waiting.take(clock.now(), awaitsMarks);
      if (next === undefined) break;
      this.#pool.add(next);
      this.#waiting.moveTenant(next.job.tenantId);
      if (!this.#pool.isUnstarted(next)) continue;
      if (next.mark === "none") this.#starts.add(next);
      else if (next.mark === "made") this.#pool.start(next);
    }
    if (this.#starts.isWriting) return;
    this.#markAhead();
    this.#starts.flush();
  }

  /**
   * Takes out what will not start soon, for others to run: what tenants have waiting that are blocked by slow jobs, and
   * what has become too much since jobs became slower. To be called again and again, for only what was so at the look
   * before as well is: after a pause of the whole process all that runs looks slow for a moment.
   */
  takeSurplus(): ClaimedJob[] {
    const ageMs = Math.max(stockMs, 2 * (this.#pool.averageMs ?? 0));
    const nowMs = this.#deps.clock.now();
    const seen = this.#slots.stalledTenants(ageMs, nowMs);
    this.#stalled = new Set([...seen].filter((tenantId) => this.#seenStalled.has(tenantId)));
    this.#seenStalled = seen;
    const surplus = this.#stalled.size > 0 ? this.#waiting.takeTenants(this.#stalled) : [];
    // Not even a tenant with nothing running may start a job, and nothing that runs is about to end.
    const isFull = !this.#slots.mayStart(0, nowMs);
    const isHeldUp = isFull && this.#stalledSlots(this.#stalled) === this.#slots.size;
    const stock = isHeldUp ? 0 : this.#stock();
    const excess =
      this.#pool.averageMs === undefined && !isHeldUp ? 0 : this.#waiting.ready - stock;
    if (isHeldUp || (this.#hadTooMuch && excess > stock)) {
      surplus.push(...this.#waiting.takeNewest(excess));
    }
    this.#hadTooMuch = excess > stock;
    return surplus.map(({ job }) => job);
  }

  /** Starts nothing any more. Returns all jobs whose handlers were not started. */
  close(): ClaimedJob[] {
    this.#starts.close();
    const waiting = this.#waiting.clear().map(({ job }) => job);
    return [...this.#pool.takeUnstarted(), ...waiting];
  }

  /** Fires the signals of all attempts, for their handlers to stop by themselves. */
  interrupt(): void {
    this.#pool.interrupt();
  }

  /** Ends the attempts whose handlers did not stop. */
  abandon(): void {
    this.#pool.abandon();
  }

  #onStartOutcome(waiting: WaitingJob, outcome: StartOutcome): void {
    const { job } = waiting;
    const hasSlot = this.#pool.isUnstarted(waiting);
    // Released meanwhile, or lost: its fence is no longer held, or the mark is taken back with the release.
    if (!hasSlot && !waiting.isWaiting) return;
    if (outcome === "lost") this.#deps.onLost(job, "lost");
    else if (outcome === "marked") {
      this.#waiting.noteMark(waiting, this.#deps.clock.now());
      if (hasSlot) this.#pool.start(waiting);
    } else {
      this.#pool.takeUnstarted(job.id);
      this.#waiting.delete(job.id);
      this.#deps.settler.release(job);
    }
  }

  /**
   * Whether those whose starts are to be marked take no slot before: while starts are put on record, they would only keep
   * slots from those whose starts are.
   */
  #awaitsMarks(): boolean {
    return this.#starts.isWriting && this.#isQuick();
  }

  /** Whether starts are marked ahead. */
  #isQuick(): boolean {
    const { averageMs } = this.#pool;
    return averageMs !== undefined && averageMs < aheadMs;
  }

  #markAhead(): void {
    const { averageMs } = this.#pool;
    if (averageMs === undefined || !this.#isQuick() || this.#waiting.ready === 0) return;
    const byPace = Math.floor((this.#deps.concurrency * aheadMs) / Math.max(averageMs, 0.001));
    const ahead = Math.min(byPace, mostAhead);
    // Not before half of them have started: a statement for each job that starts would be too many.
    if (this.#waiting.ahead * 2 > ahead) return;
    const next = this.#waiting.markAhead(ahead - this.#waiting.ahead, this.#stalledTenants());
    for (const waiting of next) this.#starts.add(waiting);
  }

  /** Tenants that may start none, and all of whose jobs are slow. */
  #stalledTenants(): ReadonlySet<string> {
    if (this.#stalled.size === 0) return this.#stalled;
    const blocked = new Set(this.#slots.blockedTenants(this.#deps.clock.now()));
    return new Set([...this.#stalled].filter((tenantId) => blocked.has(tenantId)));
  }

  #stalledSlots(stalled: ReadonlySet<string>): number {
    let slots = 0;
    for (const tenantId of stalled) slots += this.#slots.heldBy(tenantId);
    return slots;
  }

  #stock(): number {
    const { batchSize, concurrency } = this.#deps;
    return stockTarget({
      averageMs: this.#pool.averageMs,
      averageBytes: this.#averageBytes ?? 0,
      slots: Math.max(0, concurrency - this.#stalledSlots(this.#stalledTenants())),
      batchSize,
    });
  }
}
