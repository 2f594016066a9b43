import type { BucketRange, Clock, Lane, Logger } from "@evenkeel/core";
import type { JobStore } from "@evenkeel/ledger";

import type { JobHandler } from "../definition/job-handler.ts";
import type { RequestRuns } from "./isolated-jobs.ts";
import type { SuspectGate } from "./slots/suspect-gate.ts";

/** How far a drain goes. */
export interface DrainOptions {
  /**
   * For how long jobs start, in milliseconds: 0 to 86,400,000, without a default. What runs then may end, each job
   * within its own time-out, and what was claimed and not started is released at once. 0 claims nothing: the report
   * says whether work is due. A host that ends what takes longer sets `deadlineMs` too.
   */
  readonly budgetMs: number;
  /**
   * By when every attempt has ended, in milliseconds from the drain's start: 1 to 86,400,000, no deadline by default.
   * An attempt that runs then has timed out. The first claim takes any job; later ones take only jobs whose `timeoutMs`
   * fits into what is left, so that a job is cut short only where its time-out is longer than the deadline.
   */
  readonly deadlineMs?: number;
  /**
   * How long the drain waits for new jobs after the last one it saw, in milliseconds: 0 to 86,400,000, 0 by default,
   * which means that it ends when nothing is due. Of the drains of a lane the one with the poller lease asks for them,
   * every 20 ms at first and every 250 ms after a while. The others stand by (`standby`). While caps or rates throttle
   * due work the poller waits longer, until `budgetMs` at most.
   */
  readonly idleTimeoutMs?: number;
  /**
   * Whether it waits for `idleTimeoutMs` too while another drain of the lane has the poller lease: it takes the lease
   * over within a second when that drain ends or picks up no more jobs, and asks for jobs once a second until then.
   * `true` by default, so that a loop over drains never spins. `false`: it ends when nothing is due, for a host that
   * pays for waiting. Of no effect without `idleTimeoutMs`.
   */
  readonly standby?: boolean;
  /** The most jobs it claims, a whole number from 0; no limit by default. Released and delegated jobs count. */
  readonly maxJobs?: number;
  /**
   * Asks for runs of isolated jobs, each of which calls `runner.runOne`. By default the drain runs isolated jobs
   * itself, as any other.
   */
  readonly requestRuns?: RequestRuns;
  /**
   * Stops the drain gently, as the end of `budgetMs` does: nothing starts any more, and what runs may end. None by
   * default.
   */
  readonly stopSignal?: AbortSignal;
  /**
   * Aborts the drain: nothing starts any more, the signals of running jobs fire, and what does not stop within
   * `abortGraceMs` is settled as a failed attempt. What does stop is released, and its attempt does not count. None by
   * default.
   */
  readonly signal?: AbortSignal;
  /**
   * How long running jobs have to stop after `signal` has fired, in milliseconds: 0 to 3,600,000, 5,000 by default. 0
   * ends their attempts at once.
   */
  readonly abortGraceMs?: number;
}

/** What every drain of a runner shares. */
export interface DrainDeps {
  readonly jobs: JobStore;
  readonly handlers: ReadonlyMap<string, JobHandler>;
  readonly owner: string;
  readonly lane: Lane;
  readonly buckets: BucketRange;
  /** The newest version of each type that there is a handler for. */
  readonly versions: Readonly<Record<string, number>>;
  readonly concurrency: number;
  readonly singleTenant: boolean;
  readonly batchSize: number;
  readonly leaseMs: number;
  readonly clock: Clock;
  readonly settleDelayMs: number;
  readonly suspects: SuspectGate;
  readonly random: () => number;
  readonly logger: Logger;
}

/** {@link DrainOptions} after their defaults. */
export interface DrainLimits {
  readonly budgetMs: number;
  /** Infinite without one. */
  readonly deadlineMs: number;
  readonly idleTimeoutMs: number;
  readonly standby: boolean;
  readonly maxJobs: number;
  readonly abortGraceMs: number;
  readonly signal: AbortSignal | undefined;
  readonly stopSignal: AbortSignal | undefined;
  readonly requestRuns: RequestRuns | undefined;
}
