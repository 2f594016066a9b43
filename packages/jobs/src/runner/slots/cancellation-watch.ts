import type { Clock } from "@evenkeel/core";
import type { ClaimedJob, JobStore } from "@evenkeel/ledger";

/** How long a handler runs before it is asked whether its job was cancelled, and how often then, in milliseconds. */
const watchMs = 1_000;

/**
 * Asks every second whether jobs were cancelled that have run for a second or more, all of them in one statement that
 * locks nothing: a look at the primary key for each. So a handler's signal fires within about two seconds, however long
 * a lease is; the next heartbeat would tell too. Quick jobs cost nothing.
 */
export class CancellationWatch {
  readonly #jobs: Pick<JobStore, "standingOf">;
  readonly #clock: Clock;
  readonly #onCancelled: (job: ClaimedJob) => void;
  readonly #running = new Map<ClaimedJob, number>();
  #cancelTimer: (() => void) | undefined;
  #isLooking = false;

  constructor(deps: {
    readonly jobs: Pick<JobStore, "standingOf">;
    readonly clock: Clock;
    readonly onCancelled: (job: ClaimedJob) => void;
  }) {
    this.#jobs = deps.jobs;
    this.#clock = deps.clock;
    this.#onCancelled = deps.onCancelled;
  }

  /** A job's handler starts. */
  start(job: ClaimedJob): void {
    this.#running.set(job, this.#clock.now());
    this.#schedule();
  }

  /** Its attempt has ended, or was never started. */
  end(job: ClaimedJob): void {
    this.#running.delete(job);
    if (this.#running.size > 0) return;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  #schedule(): void {
    if (this.#isLooking || this.#cancelTimer !== undefined) return;
    this.#cancelTimer = this.#clock.setTimer(() => {
      this.#cancelTimer = undefined;
      this.#isLooking = true;
      void this.#look().then(() => {
        this.#isLooking = false;
        if (this.#running.size > 0) this.#schedule();
      });
    }, watchMs);
  }

  async #look(): Promise<void> {
    const since = this.#clock.now() - watchMs;
    const asked = [...this.#running].flatMap(([job, startedAtMs]) =>
      startedAtMs <= since ? [job] : [],
    );
    if (asked.length === 0) return;
    // A database that cannot be asked is reported by the heartbeats.
    const standings = await this.#jobs
      .standingOf(asked)
      .catch(() => new Map<string, never>());
    for (const job of asked) {
      const isCancelled = standings.get(job.id) === "cancelled";
      if (isCancelled && this.#running.has(job)) this.#onCancelled(job);
    }
  }
}
