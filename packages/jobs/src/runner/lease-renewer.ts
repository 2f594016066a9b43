import { withDeadline, type Clock, type Logger } from "@evenkeel/core";
import type { JobStore } from "@evenkeel/ledger";

import { describeError } from "../definition/error-description.ts";

/** How long a renewal is awaited even if leases have run out: after a blocked event loop they are seldom taken. */
const leastPatienceMs = 1_000;

interface Lease {
  readonly fence: string;
  /** By the runner's clock, counted from before the claim was sent: never later than the database's. */
  expiresAtMs: number;
  readonly onLost: () => void;
  isExempt: boolean;
}

/**
 * Renews the leases of a drain's jobs, all in one statement every third of a lease. A job whose renewal is
 * refused, or whose lease ran out while the database could not be asked, is reported as lost.
 */
export class LeaseRenewer {
  readonly #jobs: Pick<JobStore, "heartbeat">;
  readonly #leaseMs: number;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #leases = new Map<string, Lease>();
  #cancelTimer: (() => void) | undefined;
  #isRenewing = false;

  constructor(deps: {
    readonly jobs: Pick<JobStore, "heartbeat">;
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
  track(id: string, fence: string, claimedAtMs: number, onLost: () => void): void {
    this.#leases.set(id, {
      fence,
      expiresAtMs: claimedAtMs + this.#leaseMs,
      onLost,
      isExempt: false,
    });
    this.#schedule(this.#leaseMs / 3);
  }

  /** Leaves a lease out of the renewals while its owner settles it in a transaction of its own, or no longer. */
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

  /** Renews every lease. Returns how long to wait for the next round. */
  async #renew(): Promise<number> {
    const asked = [...this.#leases].filter(([, { isExempt }]) => !isExempt);
    if (asked.length === 0) return this.#leaseMs / 3;
    const sentAtMs = this.#clock.now();
    // A database that hangs must not hide that a lease ran out.
    const earliestEndMs = Math.min(...asked.map(([, lease]) => lease.expiresAtMs));
    const patienceMs = Math.min(
      this.#leaseMs / 4,
      Math.max(leastPatienceMs, earliestEndMs - sentAtMs),
    );
    const claims = asked.map(([id, { fence }]) => ({ id, fence }));
    let held: Set<string> | undefined;
    try {
      held = await withDeadline(
        patienceMs,
        () => this.#jobs.heartbeat(claims, this.#leaseMs),
        this.#clock,
      );
    } catch (error) {
      const { code, message } = describeError(error);
      this.#logger.warn("job.heartbeat_failed", { jobs: asked.length, code, error: message });
    }
    for (const [id, lease] of asked) {
      // Untracked meanwhile: its settlement decides.
      if (this.#leases.get(id) !== lease) continue;
      if (held?.has(id) === true) lease.expiresAtMs = sentAtMs + this.#leaseMs;
      else if (held !== undefined || this.#clock.now() >= lease.expiresAtMs) {
        this.#leases.delete(id);
        lease.onLost();
      }
    }
    return held === undefined ? this.#leaseMs / 15 : this.#leaseMs / 3;
  }
}
