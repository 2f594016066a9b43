import { randomUUID } from "node:crypto";

import type { Lane, Logger } from "@evenkeel/events";
import type { JobStore } from "@evenkeel/ledger";

import { within, type Clock } from "./clock.ts";
import { describeError } from "./error-description.ts";

/** How long an attendance outlives its host, in milliseconds. */
const attendanceMs = 2_000;

const renewalMs = 500;

/**
 * A drain's attendance of its lane: while it is held, others may rely on this drain to see new jobs, and no other
 * waits for them. Trouble with it is logged and costs no job: nobody attends then.
 */
export class Attendance {
  readonly #jobs: Pick<JobStore, "attend" | "leave">;
  readonly #lane: Lane;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #onChange: () => void;
  readonly #attendant: string = randomUUID();
  #cancelTimer: (() => void) | undefined;
  #isRunning = false;
  #asked: Promise<void> | undefined;
  #isMarked = false;
  /** By this host's clock, counted from before the question was sent: never later than the database's. */
  #heldUntilMs = Number.NEGATIVE_INFINITY;

  constructor(deps: {
    readonly jobs: Pick<JobStore, "attend" | "leave">;
    readonly lane: Lane;
    readonly clock: Clock;
    readonly logger: Logger;
    /** Called after every answer. */
    readonly onChange: () => void;
  }) {
    this.#jobs = deps.jobs;
    this.#lane = deps.lane;
    this.#clock = deps.clock;
    this.#logger = deps.logger;
    this.#onChange = deps.onChange;
  }

  get isHeld(): boolean {
    return this.#clock.now() < this.#heldUntilMs;
  }

  /** Whether others may still see its mark. */
  get isMarked(): boolean {
    return this.#isMarked;
  }

  /** Whether it is not known yet who attends. */
  get isAsking(): boolean {
    return this.#asked !== undefined && !this.isHeld;
  }

  /** Asks for the attendance, and goes on asking or renewing it, until {@link leave}. */
  start(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#ask();
  }

  /** Gives the attendance back. */
  async leave(): Promise<void> {
    this.#isRunning = false;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    await this.#asked;
    if (!this.#isMarked) return;
    this.#isMarked = false;
    this.#heldUntilMs = Number.NEGATIVE_INFINITY;
    const request = { lane: this.#lane, attendant: this.#attendant };
    try {
      await within(this.#clock, attendanceMs, this.#jobs.leave(request));
    } catch (error) {
      // It lapses.
      this.#logger.warn("job.attendance_kept", { error: describeError(error).message });
    }
  }

  #ask(): void {
    const sentAtMs = this.#clock.now();
    const request = { lane: this.#lane, attendant: this.#attendant, forMs: attendanceMs };
    this.#asked = within(this.#clock, attendanceMs, this.#jobs.attend(request))
      .then(
        (isHeld) => {
          // Without an answer in time the mark may be there all the same.
          this.#isMarked ||= isHeld !== false;
          this.#heldUntilMs = isHeld === true ? sentAtMs + attendanceMs : Number.NEGATIVE_INFINITY;
        },
        (error: unknown) => {
          this.#logger.warn("job.attendance_failed", { error: describeError(error).message });
        },
      )
      .then(() => {
        this.#asked = undefined;
        if (!this.#isRunning) return;
        this.#cancelTimer = this.#clock.setTimer(() => this.#ask(), renewalMs);
        this.#onChange();
      });
  }
}
