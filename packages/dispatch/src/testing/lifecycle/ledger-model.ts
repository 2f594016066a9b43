import { settings } from "./settings.ts";

/** One window as the model has it. */
export interface ModelWindow {
  status: "DISPATCHING" | "ENQUEUE_FAILED" | "ENQUEUED";
  readonly start: number;
  readonly createdAt: number;
  /** Whether its last claim was to send for a run; `false`: upkeep alone. */
  sendsWork: boolean;
  fence: string;
  leaseUntil: number;
  claims: number;
  duplicates: number;
  failures: number;
  repairs: number;
  nextRepairAt: number;
  enqueuedAt: number;
  updatedAt: number;
}

/** One run. */
export interface ModelRun {
  readonly dispatchKey: string;
  readonly startedAt: number;
  status: "RUNNING" | "STALE" | "SUCCEEDED" | "FAILED" | "SKIPPED_DUPLICATE";
  fence: string;
  heartbeatAt: number;
  finishedAt: number;
}

/** One unsettled job, by the number in its payload. */
export interface ModelJob {
  state: "SCHEDULED" | "PENDING" | "RUNNING";
  runAt: number;
  /** Handlers that started. */
  attempt: number;
  /** Workers that died in a row while its handler ran. */
  crashes: number;
  hasStarted: boolean;
  id: string;
  fence: string;
  leaseUntil: number;
}

/** One dead letter. */
export interface ModelLetter {
  readonly kind: "JOB" | "RUN" | "DISPATCH";
  readonly sourceId: string;
  status: "OPEN" | "REQUEUED";
  resolvedAt: number;
  /** For a job, the number in its payload. */
  readonly job?: number;
  /** For a run, the id of its event. */
  readonly eventId?: string;
}

/** A job that has ended. */
export interface ModelHistory {
  readonly job: number;
  readonly id: string;
  readonly outcome: "SUCCEEDED" | "DEAD" | "CANCELLED";
  readonly finishedAt: number;
}

/** An event that a redrive put into the outbox. */
export interface ModelOutboxEvent {
  readonly eventId: string;
  status: "PENDING" | "SENT";
  settledAt: number;
}

/** How an attempt at a job ends. */
export type JobEnd = "succeeded" | "retry" | "released" | "dead";

/**
 * What the ledger should do, in the plainest words: one host at a time, in memory. Each method returns what the
 * real one should return. A fence is whatever the real ledger gave out; the model knows when it holds.
 */
export class LedgerModel {
  readonly now: () => number;
  readonly windows: Map<string, ModelWindow> = new Map();
  readonly guards: Map<string, { runId: string; takenAt: number }> = new Map();
  readonly runs: Map<string, ModelRun> = new Map();
  readonly jobs: Map<number, ModelJob> = new Map();
  history: ModelHistory[] = [];
  letters: ModelLetter[] = [];
  outbox: ModelOutboxEvent[] = [];
  /** Windows whose tick found nothing to do, by dispatch key. */
  readonly idle: Set<string> = new Set();
  /** The job that took the unique key last. */
  keyHolder: number | undefined;
  /** The job that an enqueue in an open transaction met under its key: nobody claims it. */
  locked: number | undefined;

  constructor(now: () => number) {
    this.now = now;
  }

  claimWindow(dispatchKey: string, start: number, sendsWork = true): "claimed" | "duplicate" {
    const window = this.windows.get(dispatchKey);
    if (window === undefined) {
      this.windows.set(dispatchKey, {
        status: "DISPATCHING",
        start,
        createdAt: this.now(),
        sendsWork,
        fence: "",
        leaseUntil: this.now() + settings.dispatchLeaseMs,
        claims: 1,
        duplicates: 0,
        failures: 0,
        repairs: 0,
        nextRepairAt: 0,
        enqueuedAt: 0,
        updatedAt: this.now(),
      });
      return "claimed";
    }
    window.updatedAt = this.now();
    if (window.status !== "ENQUEUE_FAILED" && !this.hasExpired(window)) {
      window.duplicates += 1;
      return "duplicate";
    }
    window.status = "DISPATCHING";
    window.sendsWork = sendsWork;
    window.leaseUntil = this.now() + settings.dispatchLeaseMs;
    window.claims += 1;
    return "claimed";
  }

  /** Whether a tick has work: something is due, or will be while a drain would still wait. */
  hasWork(): boolean {
    const soon = this.now() + settings.lookaheadMs;
    return [...this.jobs.values()].some((job) =>
      job.state === "PENDING"
        ? true
        : (job.state === "RUNNING" ? job.leaseUntil : job.runAt) <= soon,
    );
  }

  /** Whether a window of the last day waits to be sent again. */
  waitsForRepair(): boolean {
    return [...this.windows.values()].some(
      (window) =>
        (window.status === "ENQUEUE_FAILED" || this.hasExpired(window)) &&
        window.nextRepairAt <= this.now() &&
        window.createdAt > this.now() - settings.latenessMs,
    );
  }

  hasExpired(window: ModelWindow): boolean {
    return window.status === "DISPATCHING" && window.leaseUntil <= this.now();
  }

  settleWindow(dispatchKey: string, fence: string, status: "ENQUEUED" | "ENQUEUE_FAILED"): boolean {
    const window = this.windows.get(dispatchKey);
    if (window?.status !== "DISPATCHING" || window.fence !== fence) return false;
    window.status = status;
    window.updatedAt = this.now();
    if (status === "ENQUEUED") window.enqueuedAt = this.now();
    else window.failures += 1;
    return true;
  }

  /** Every attempt is by another worker, so each gets a fence of its own. */
  beginRun(runId: string, dispatchKey: string): boolean {
    const now = this.now();
    const run = this.runs.get(runId);
    if (run === undefined) {
      this.runs.set(runId, {
        dispatchKey,
        startedAt: now,
        status: "RUNNING",
        fence: "",
        heartbeatAt: now,
        finishedAt: 0,
      });
      return true;
    }
    const mayContinue =
      run.status === "RUNNING" || (run.status === "STALE" && !this.isTakenOver(runId, run));
    if (mayContinue) Object.assign(run, { status: "RUNNING", heartbeatAt: now });
    return mayContinue;
  }

  isTakenOver(runId: string, { dispatchKey }: ModelRun): boolean {
    const guard = this.guards.get(dispatchKey);
    return guard !== undefined && guard.runId !== runId;
  }

  /** Returns who holds the guard afterwards. */
  takeGuard(dispatchKey: string, runId: string): string {
    const guard = this.guards.get(dispatchKey);
    const holder = guard === undefined ? undefined : this.runs.get(guard.runId)?.status;
    if (guard === undefined || holder === "FAILED" || holder === "STALE") {
      this.guards.set(dispatchKey, { runId, takenAt: this.now() });
      return runId;
    }
    return guard.runId;
  }

  /** Ends a run; without a fence it is Inngest's own word. */
  finishRun(
    runId: string,
    status: "SUCCEEDED" | "FAILED" | "SKIPPED_DUPLICATE",
    fence?: string,
  ): boolean {
    const run = this.runs.get(runId);
    if (run === undefined || (run.status !== "RUNNING" && run.status !== "STALE")) return false;
    if (fence !== undefined) {
      if (run.fence !== fence) return false;
      const isLate = run.status === "STALE" && this.isTakenOver(runId, run);
      if (isLate && status !== "SKIPPED_DUPLICATE") return false;
    }
    Object.assign(run, { status, finishedAt: this.now(), heartbeatAt: this.now() });
    return true;
  }

  addJob(job: number, delayMs = 0): void {
    const [runAt, leaseUntil] = [this.now() + delayMs, 0];
    const fresh = { attempt: 0, crashes: 0, hasStarted: false, id: "", fence: "" };
    this.jobs.set(job, {
      state: delayMs > 0 ? "SCHEDULED" : "PENDING",
      runAt,
      leaseUntil,
      ...fresh,
    });
  }

  /** Makes available what is due and what dead workers left, and claims it. Returns the numbers of the jobs claimed. */
  claimJobs(): number[] {
    const now = this.now();
    const due = [...this.jobs].filter(
      ([number, job]) =>
        number !== this.locked && (job.state === "RUNNING" ? job.leaseUntil : job.runAt) <= now,
    );
    for (const [, job] of due) {
      // What was only held when its worker died goes back as it was.
      if (job.state === "RUNNING" && job.hasStarted) job.crashes += 1;
      const leaseUntil = now + settings.jobLeaseMs;
      Object.assign(job, { state: "RUNNING", hasStarted: false, leaseUntil });
    }
    return due.map(([number]) => number);
  }

  #held(id: string, fence: string): [number, ModelJob] | undefined {
    return [...this.jobs].find(
      ([, job]) => job.state === "RUNNING" && job.id === id && job.fence === fence,
    );
  }

  startJob(id: string, fence: string): boolean {
    const held = this.#held(id, fence);
    if (held === undefined) return false;
    const [, job] = held;
    if (!job.hasStarted) job.attempt += 1;
    job.hasStarted = true;
    return true;
  }

  heartbeatJob(id: string, fence: string): boolean {
    const held = this.#held(id, fence);
    if (held !== undefined) held[1].leaseUntil = this.now() + settings.jobLeaseMs;
    return held !== undefined;
  }

  settleJob(id: string, fence: string, end: JobEnd): boolean {
    const held = this.#held(id, fence);
    if (held === undefined) return false;
    const [number, job] = held;
    const now = this.now();
    if (end === "retry") {
      const runAt = now + settings.retryDelayMs;
      Object.assign(job, { state: "SCHEDULED", runAt, crashes: 0, hasStarted: false });
      return true;
    }
    if (end === "released") {
      // As if it had not been claimed.
      if (job.hasStarted) job.attempt -= 1;
      Object.assign(job, { state: "PENDING", hasStarted: false });
      return true;
    }
    this.jobs.delete(number);
    const outcome = end === "dead" ? "DEAD" : "SUCCEEDED";
    this.history.push({ job: number, id, outcome, finishedAt: now });
    if (end === "dead") this.#openLetter({ kind: "JOB", sourceId: id, job: number });
    return true;
  }

  /** The job that waits under the unique key, which an enqueue meets. */
  waitingHolder(): number | undefined {
    const state = this.keyHolder === undefined ? undefined : this.jobs.get(this.keyHolder)?.state;
    return state === undefined || state === "RUNNING" ? undefined : this.keyHolder;
  }

  /** Ends a job that waits or runs, whatever its worker does. Returns where it stood. */
  cancelJob(job: number, id: string): ModelJob["state"] | undefined {
    const state = this.jobs.get(job)?.state;
    if (!this.jobs.delete(job)) return undefined;
    this.history.push({ job, id, outcome: "CANCELLED", finishedAt: this.now() });
    return state;
  }

  /** Returns whether a letter was filed. */
  fileRunLetter(runId: string, eventId: string): boolean {
    if (this.letters.some(({ kind, sourceId }) => kind === "RUN" && sourceId === runId))
      return false;
    this.#openLetter({ kind: "RUN", sourceId: runId, eventId });
    return true;
  }

  openDispatchLetter(dispatchKey: string): void {
    this.#openLetter({ kind: "DISPATCH", sourceId: dispatchKey });
  }

  #openLetter(letter: Pick<ModelLetter, "kind" | "sourceId" | "job" | "eventId">): void {
    this.letters.push({ ...letter, status: "OPEN", resolvedAt: 0 });
  }

  /** The runs of a window that have not fallen silent. */
  hasLiveRun(dispatchKey: string): boolean {
    return [...this.runs.values()].some(
      (run) => run.dispatchKey === dispatchKey && run.status !== "STALE",
    );
  }
}
