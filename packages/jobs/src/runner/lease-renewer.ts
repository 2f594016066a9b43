import { withDeadline, type Clock, type Logger } from "@evenkeel/core";
import type { ClaimStanding, JobStore } from "@evenkeel/ledger";

import { describeError } from "../definition/error-description.ts";
import type { Loss } from "./abort-reasons.ts";

/** How long a renewal is awaited even if leases have run out: after a blocked event loop they are seldom taken. */
const leastPatienceMs = 1_000;

interface Lease {
  readonly fence: string;
  /** By the runner's clock, counted from before the claim was sent: never later than the database's. */
  expiresAtMs: number;
  readonly onLost: (loss: Loss) => void;
  isExempt: boolean;
  /** Another transaction had its job locked when it was to be renewed. */
  isLocked: boolean;
}

/**
 * Renews the leases of a drain's jobs, all in one statement every third of a lease. A job whose renewal is
 * refused, or whose lease ran out while the database could not be asked, is reported as lost. One that another
 * transaction has locked is asked for again soon, by itself, until its lease has run out.
 */
export class LeaseRenewer {
  readonly #jobs: Pick<JobStore, "heartbeat" | "standingOf">;
  readonly #leaseMs: number;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #leases = new Map<string, Lease>();
  #cancelTimer: (() => void) | undefined;
  #isRenewing = false;
  /** When all leases are to be renewed, and not only those that were locked. */
  #fullRoundAtMs = Number.NEGATIVE_INFINITY;

  constructor(deps: {
    readonly jobs: Pick<JobStore, "heartbeat" | "standingOf">;
    readonly leaseMs: number;
    readonly clock: Clock;
    readonly logger: Logger;
  }) {
    this.#jobs = deps.jobs;
    this.#leaseMs = deps.leaseMs;
    this.#clock = deps.clock;
    this.#logger = deps.logger;
  }

  /** Begins to renew a lease. `claimedAtMs`: the clock before its claim was sent. */
  track(id: string, fence: string, claimedAtMs: number, onLost: (loss: Loss) => void): void {
    this.#leases.set(id, {
      fence,
      expiresAtMs: claimedAtMs + this.#leaseMs,
      onLost,
      isExempt: false,
      isLocked: false,
    });
    this.#schedule(this.#leaseMs / 3);
  }

  /**
   * Keeps a lease, whatever a renewal is answered, while its owner settles its job in a transaction of its own; or no
   * longer. It is renewed all the same: that transaction may be rolled back, and the handler goes on.
   */
  exempt(id: string, fence: string, isExempt: boolean): void {
    const lease = this.#leases.get(id);
    if (lease?.fence === fence) lease.isExempt = isExempt;
  }

  /** Ends the renewal of a lease. Returns until when it is good, or `undefined` when it was lost. */
  untrack(id: string): number | undefined {
    const lease = this.#leases.get(id);
    this.#leases.delete(id);
    if (this.#leases.size === 0) this.stop();
    return lease?.expiresAtMs;
  }

  /** Ends all renewals. */
  stop(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  #schedule(delayMs: number): void {
    if (this.#isRenewing || this.#cancelTimer !== undefined) return;
    this.#wait(this.#clock.now() + delayMs);
  }

  /**
   * Waits until the next round is due, a tenth of a lease at a time. A timer stands while the machine is suspended, and
   * the clock goes on: leases that ended meanwhile are renewed or lost soon after, and not after a third of a lease.
   */
  #wait(untilMs: number): void {
    const leftMs = Math.max(0, untilMs - this.#clock.now());
    this.#cancelTimer = this.#clock.setTimer(
      () => {
        if (this.#clock.now() < untilMs) {
          this.#wait(untilMs);
          return;
        }
        this.#cancelTimer = undefined;
        this.#isRenewing = true;
        void this.#renew().then((nextDelayMs) => {
          this.#isRenewing = false;
          if (this.#leases.size > 0) this.#schedule(nextDelayMs);
        });
      },
      Math.min(leftMs, this.#leaseMs / 10),
    );
  }

  /** Renews every lease, or between two rounds those that were locked. Returns how long to wait for the next. */
  async #renew(): Promise<number> {
    const sentAtMs = this.#clock.now();
    const isFullRound = sentAtMs >= this.#fullRoundAtMs;
    const asked = [...this.#leases].filter(([, { isLocked }]) => isFullRound || isLocked);
    const answers = asked.length === 0 ? new Map<string, never>() : await this.#ask(asked);
    const nowMs = this.#clock.now();
    for (const [id, lease] of asked) {
      // Untracked meanwhile: its settlement decides.
      if (this.#leases.get(id) !== lease) continue;
      const answer = answers?.get(id) ?? "held";
      lease.isLocked = answers !== undefined && answer === "held" && !lease.isExempt;
      if (answer === "renewed") lease.expiresAtMs = sentAtMs + this.#leaseMs;
      else if (lease.isExempt) continue;
      else if (answer !== "held" || nowMs >= lease.expiresAtMs) {
        this.#leases.delete(id);
        lease.onLost(answer === "cancelled" ? "cancelled" : "lost");
      }
    }
    if (answers === undefined) return this.#leaseMs / 15;
    if (isFullRound) this.#fullRoundAtMs = nowMs + this.#leaseMs / 3;
    const hasLocked = [...this.#leases.values()].some(({ isLocked }) => isLocked);
    const untilFullMs = Math.max(0, this.#fullRoundAtMs - nowMs);
    return hasLocked ? Math.min(this.#leaseMs / 15, untilFullMs) : untilFullMs;
  }

  /** Returns what became of each renewal; `undefined` where the ledger did not say. */
  async #ask(
    asked: readonly (readonly [string, Lease])[],
  ): Promise<ReadonlyMap<string, "renewed" | ClaimStanding> | undefined> {
    // A database that hangs must not hide that a lease ran out.
    const earliestEndMs = Math.min(
      ...asked.map(([, { expiresAtMs, isExempt }]) =>
        isExempt ? Number.POSITIVE_INFINITY : expiresAtMs,
      ),
    );
    const patienceMs = Math.min(
      this.#leaseMs / 4,
      Math.max(leastPatienceMs, earliestEndMs - this.#clock.now()),
    );
    const claims = asked.map(([id, { fence }]) => ({ id, fence }));
    const renew = async (): Promise<Map<string, "renewed" | ClaimStanding>> => {
      const held = await this.#jobs.heartbeat(claims, this.#leaseMs);
      const missing = claims.filter(({ id }) => !held.has(id));
      const standings = missing.length === 0 ? [] : await this.#jobs.standingOf(missing);
      const renewed = [...held].map((id) => [id, "renewed"] as const);
      return new Map<string, "renewed" | ClaimStanding>([...renewed, ...standings]);
    };
    try {
      return await withDeadline(patienceMs, renew, this.#clock);
    } catch (error) {
      const { code, message } = describeError(error);
      this.#logger.warn("job.heartbeat_failed", { jobs: asked.length, code, error: message });
      return undefined;
    }
  }
}
