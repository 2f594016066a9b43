import { randomUUID } from "node:crypto";

import {
  withDeadline,
  DeadlineExceededError,
  type Clock,
  type Lane,
  type Logger,
} from "@evenkeel/core";
import type { JobStore } from "@evenkeel/ledger";

import { describeError } from "../definition/error-description.ts";

/** How long a poller lease outlives its host, in milliseconds. */
const pollerLeaseMs = 2_000;

/** How often it is renewed, in milliseconds, or released by a drain that has not claimed meanwhile. */
export const renewalMs: number = 500;

/**
 * A drain's poller lease on its lane. While it is held, others rely on this drain to see new jobs, and no other drain
 * waits for them. A drain that picks up no jobs releases it meanwhile. Trouble with it is logged and costs no job: the
 * drain then does without.
 */
export class PollerLease {
  readonly #jobs: Pick<JobStore, "acquirePoller" | "releasePoller">;
  readonly #lane: Lane;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #isAttentive: () => boolean;
  readonly #onChange: () => void;
  readonly #pollerId: string = randomUUID();
  #cancelTimer: (() => void) | undefined;
  #isRunning = false;
  /** What is under way: a request, or the release. */
  #asked: Promise<void> | undefined;
  #isMarked = false;
  #hasPolled = false;
  #isBackingOff = false;
  /** Whether it is to be asked for as soon as the release under way has ended. */
  #isResuming = false;
  /** By this host's clock, counted from before the question was sent: never later than the database's. */
  #heldUntilMs = Number.NEGATIVE_INFINITY;

  constructor(deps: {
    readonly jobs: Pick<JobStore, "acquirePoller" | "releasePoller">;
    readonly lane: Lane;
    readonly clock: Clock;
    readonly logger: Logger;
    /** Whether the drain would pick up a job now. */
    readonly isAttentive: () => boolean;
    /** Called after every response. */
    readonly onChange: () => void;
  }) {
    this.#jobs = deps.jobs;
    this.#lane = deps.lane;
    this.#clock = deps.clock;
    this.#logger = deps.logger;
    this.#isAttentive = deps.isAttentive;
    this.#onChange = deps.onChange;
  }

  get isHeld(): boolean {
    return this.#clock.now() < this.#heldUntilMs;
  }

  /** Whether others may still see its mark. */
  get isMarked(): boolean {
    return this.#isMarked;
  }

  /** Whether it has been held at any time. */
  get hasPolled(): boolean {
    return this.#hasPolled;
  }

  /** Whether it is not known yet who polls. */
  get isAsking(): boolean {
    return (this.#asked !== undefined || this.#isResuming) && !this.isHeld;
  }

  /** Whether it was released for as long as the drain picks up no jobs. */
  get isBackingOff(): boolean {
    return this.#isBackingOff;
  }

  /** Asks for the lease, and keeps asking for it or renewing it until {@link PollerLease.releasePoller}. */
  start(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#turn();
  }

  /** Asks again, if it was released because the drain picked up no jobs: at once, or when the release has ended. */
  resume(): void {
    if (!this.#isBackingOff) return;
    this.#isBackingOff = false;
    // A release that is under way is not overtaken.
    if (this.#asked !== undefined) {
      this.#isResuming = true;
      return;
    }
    this.#cancelTimer?.();
    this.#turn();
  }

  /** Releases the lease, and asks for it no more. */
  async releasePoller(): Promise<void> {
    this.#isRunning = false;
    this.#isBackingOff = false;
    this.#isResuming = false;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    while (this.#asked !== undefined) await this.#asked;
    if (this.#isMarked) await this.#track(this.#release());
  }

  #turn(): void {
    this.#isBackingOff = !this.#isAttentive();
    const turn = this.#isBackingOff ? this.#release() : this.#ask();
    void this.#track(turn).then(() => {
      if (!this.#isRunning) return;
      if (this.#isResuming) {
        this.#isResuming = false;
        this.#turn();
        return;
      }
      this.#cancelTimer = this.#clock.setTimer(() => this.#turn(), renewalMs);
      this.#onChange();
    });
  }

  #track(work: Promise<void>): Promise<void> {
    const asked = work.then(() => {
      this.#asked = undefined;
    });
    this.#asked = asked;
    return asked;
  }

  async #ask(): Promise<void> {
    const sentAtMs = this.#clock.now();
    const request = { lane: this.#lane, pollerId: this.#pollerId, forMs: pollerLeaseMs };
    try {
      const isHeld = await this.#withinLease(() => this.#jobs.acquirePoller(request));
      this.#isMarked ||= isHeld;
      this.#hasPolled ||= this.#isMarked;
      this.#heldUntilMs = isHeld ? sentAtMs + pollerLeaseMs : Number.NEGATIVE_INFINITY;
    } catch (error) {
      if (error instanceof DeadlineExceededError) {
        // The mark may be there all the same.
        this.#isMarked = true;
        this.#hasPolled = true;
        this.#heldUntilMs = Number.NEGATIVE_INFINITY;
        return;
      }
      this.#logger.warn("job.poller_acquire_failed", { error: describeError(error).message });
    }
  }

  async #release(): Promise<void> {
    if (!this.#isMarked) return;
    this.#isMarked = false;
    this.#heldUntilMs = Number.NEGATIVE_INFINITY;
    const request = { lane: this.#lane, pollerId: this.#pollerId };
    try {
      await this.#withinLease(() => this.#jobs.releasePoller(request));
    } catch (error) {
      // It expires.
      this.#logger.warn("job.poller_release_failed", { error: describeError(error).message });
    }
  }

  #withinLease<Value>(call: () => Promise<Value>): Promise<Value> {
    return withDeadline(pollerLeaseMs, call, this.#clock);
  }
}
