import {
  allBuckets,
  bucketCount,
  type BucketRange,
  lanes,
  resolveLogger,
  type Lane,
  type Logger,
  systemClock,
  type Clock,
} from "@evenkeel/core";
import type { JobClaim, JobStore } from "@evenkeel/ledger";

import type { JobHandler } from "../definition/job-handler.ts";
import { JobError } from "../job-error.ts";
import type { DrainOptions } from "./drain-options.ts";
import type { DrainReport } from "./drain-report.ts";
import { Drain } from "./drain.ts";
import { SuspectGate } from "./slots/suspect-gate.ts";

/** What {@link createRunner} needs. */
export interface RunnerOptions {
  /** The ledger, of which only the job store is used. */
  readonly ledger: { readonly jobs: JobStore };
  /** One handler per type. Jobs of other types are never claimed; the report counts them as `unknownTypes`. */
  readonly handlers: readonly JobHandler[];
  /** Names this host for people, in the ledger and the logs: 1 to 200 characters without NUL. It is no fence. */
  readonly owner: string;
  /** The lane that it belongs to; `stable` by default. It is on record with the jobs that it runs. */
  readonly lane?: Lane;
  /**
   * The tenants whose jobs it runs, by their buckets (`bucketOf` of @evenkeel/core): those of its lane. Defaults to all for
   * `stable`, and to none for `canary`.
   */
  readonly buckets?: BucketRange;
  /**
   * How many jobs run at a time in one drain, its slots: 1 to 1,000, 10 by default. Drains that overlap have slots of
   * their own, so that a process runs as many jobs as all its drains together. Tenants share the slots: one alone takes
   * two thirds of them, and with two or more slots it leaves at least one to others (`singleTenant` lets it take all).
   *
   * While jobs run for longer than a second, a drain may run more jobs than slots. Those of one tenant then count as one
   * for other tenants, and each tenant with nothing running gets a place, as long as fewer tenants than slots have jobs
   * running. That makes `2 × concurrency − 1` jobs at most, and only while tenants hold several slots for long.
   */
  readonly concurrency?: number;
  /**
   * Whether all jobs are of one tenant, which may then take every slot. `false` by default. With `true` no slot is kept
   * for other tenants, no drain runs more jobs than `concurrency`, and jobs that hang hold up whatever else there is.
   */
  readonly singleTenant?: boolean;
  /**
   * The most jobs of one claim: 1 to 10,000, 5,000 by default. A drain claims what can start at once, and more, up to
   * this number and to about 64 MiB of payloads, only while jobs end quickly.
   */
  readonly batchSize?: number;
  /**
   * How long a claim holds a job, in milliseconds: 1,000 to 3,600,000, 30,000 by default. A drain renews its leases
   * every third of it, whatever a job's `timeoutMs`. The jobs of a dead process wait this long for another.
   */
  readonly leaseMs?: number;
  /**
   * How long a finished job waits for others to be settled with it, in milliseconds: 0 to 1,000, 20 by default. What
   * ends while a batch is being written goes with the next batch at once, and so does what ends last.
   */
  readonly settleDelayMs?: number;
  /** Measures budgets, time-outs and leases; the process's monotonic clock by default. */
  readonly clock?: Clock;
  /** Returns a number from 0 up to 1, for the jitter of retries; `Math.random` by default. */
  readonly random?: () => number;
  /** Gets an event for each failed attempt, dead job and lost lease; nothing is logged by default. */
  readonly logger?: Logger;
}

/** Runs due jobs. */
export interface Runner {
  /**
   * Claims and runs due jobs until none is left, a limit of `options` is reached, or a signal stops it. Drains may
   * overlap, in one process or in many.
   *
   * @returns What it did, when all that it claimed is settled.
   * @throws JobError `invalid_options` when an option is out of range; whatever the ledger threw when not even the first
   * claim succeeded, and then nothing is held.
   */
  drain(options: DrainOptions): Promise<DrainReport>;
  /**
   * Runs one job that a drain delegated under this fence, as a drain would, and tries for up to a minute to claim it.
   *
   * @returns A report with `claimed: 0` when the job was claimed since, has ended, or is paused.
   * @throws As `drain` does.
   */
  runOne(
    job: JobClaim,
    options?: Pick<DrainOptions, "deadlineMs" | "signal" | "stopSignal" | "abortGraceMs">,
  ): Promise<DrainReport>;
}

/**
 * Creates a runner of jobs. It holds no connection and no timer of its own; only its drains do.
 *
 * @throws JobError `duplicate_definition` when two handlers have one type; `invalid_options`.
 */
export function createRunner(options: RunnerOptions): Runner {
  const { concurrency = 10, batchSize = 5_000, leaseMs = 30_000, settleDelayMs = 20 } = options;
  checkWhole("concurrency", concurrency, 1, 1_000);
  checkWhole("batchSize", batchSize, 1, 10_000);
  checkWhole("leaseMs", leaseMs, 1_000, 3_600_000);
  checkWhole("settleDelayMs", settleDelayMs, 0, 1_000);
  const { owner, lane = "stable", singleTenant = false } = options;
  // Names come from a host's environment, where they may be missing.
  const isName = typeof owner === "string" && owner.length >= 1 && owner.length <= 200;
  if (!isName || owner.includes("\u0000") || !owner.isWellFormed()) {
    throw new JobError("invalid_options", "owner must have 1 to 200 characters and no NUL.", {
      field: "owner",
    });
  }
  if (!lanes.includes(lane)) {
    throw new JobError("invalid_options", `lane must be one of ${lanes.join(", ")}.`, {
      field: "lane",
    });
  }
  checkParts(options);
  const handlers = new Map<string, JobHandler>();
  for (const handler of options.handlers) {
    const { type } = handler.definition;
    if (handlers.has(type)) {
      throw new JobError("duplicate_definition", `Two handlers were given for job ${type}.`, {
        type,
      });
    }
    handlers.set(type, handler);
  }
  const deps = {
    jobs: options.ledger.jobs,
    handlers,
    owner,
    lane,
    buckets: checkBuckets(options.buckets ?? (lane === "stable" ? allBuckets : { from: 0, to: 0 })),
    versions: Object.fromEntries(
      [...handlers].map(([type, { definition }]) => [type, definition.version]),
    ),
    concurrency,
    singleTenant,
    batchSize,
    leaseMs,
    settleDelayMs,
    suspects: new SuspectGate(),
    clock: options.clock ?? systemClock,
    random: options.random ?? Math.random,
    logger: resolveLogger(options.logger),
  };
  return {
    drain: async (drainOptions) => {
      const { budgetMs, maxJobs = Number.MAX_SAFE_INTEGER, abortGraceMs = 5_000 } = drainOptions;
      const { idleTimeoutMs = 0, standby = true, deadlineMs } = drainOptions;
      checkRange("budgetMs", budgetMs, 0, 86_400_000);
      checkWhole("maxJobs", maxJobs, 0, Number.MAX_SAFE_INTEGER);
      checkRange("idleTimeoutMs", idleTimeoutMs, 0, 86_400_000);
      checkRange("abortGraceMs", abortGraceMs, 0, 3_600_000);
      checkDeadline(deadlineMs);
      return new Drain(deps, {
        budgetMs,
        deadlineMs: deadlineMs ?? Number.POSITIVE_INFINITY,
        idleTimeoutMs,
        standby,
        maxJobs,
        abortGraceMs,
        signal: drainOptions.signal,
        stopSignal: drainOptions.stopSignal,
        requestRuns: drainOptions.requestRuns,
      }).run();
    },
    runOne: async (job, { abortGraceMs = 5_000, deadlineMs, signal, stopSignal } = {}) => {
      checkRange("abortGraceMs", abortGraceMs, 0, 3_600_000);
      checkDeadline(deadlineMs);
      const claimById: JobStore["claim"] = async (request) => {
        const claimed = await deps.jobs.claimById({ ...job, ...request });
        return { jobs: claimed === undefined ? [] : [claimed], throttled: false };
      };
      const limits = {
        budgetMs: claimByIdForMs,
        deadlineMs: deadlineMs ?? Number.POSITIVE_INFINITY,
        idleTimeoutMs: 0,
        standby: false,
        maxJobs: 1,
        requestRuns: undefined,
      };
      const oneDeps = { ...deps, jobs: { ...deps.jobs, claim: claimById } };
      return new Drain(oneDeps, { ...limits, abortGraceMs, signal, stopSignal }).run();
    },
  };
}

/** Hosts pass a pool as the ledger, and definitions as handlers. */
function checkParts({ ledger, handlers }: Partial<Record<keyof RunnerOptions, unknown>>): void {
  if (typeof ledger !== "object" || ledger === null || !("jobs" in ledger)) {
    throw new JobError(
      "invalid_options",
      "ledger must be what createLedger returns. In place of a pool pass createLedger({ pool }).",
      { field: "ledger" },
    );
  }
  const isHandler = (handler: unknown): boolean =>
    typeof handler === "object" && handler !== null && "definition" in handler;
  if (Array.isArray(handlers) && handlers.every(isHandler)) return;
  throw new JobError(
    "invalid_options",
    "handlers must be an array of what handleJob returns. In place of a definition pass handleJob(definition, run).",
    { field: "handlers" },
  );
}

/** How long a claim of one job is tried, in milliseconds. */
const claimByIdForMs = 60_000;

function checkBuckets(buckets: BucketRange): BucketRange {
  checkWhole("buckets.from", buckets.from, 0, bucketCount);
  checkWhole("buckets.to", buckets.to, buckets.from, bucketCount);
  return buckets;
}

function checkDeadline(deadlineMs: number | undefined): void {
  if (deadlineMs !== undefined) checkRange("deadlineMs", deadlineMs, 1, 86_400_000);
}

function checkRange(field: string, value: number, min: number, max: number): void {
  if (Number.isFinite(value) && value >= min && value <= max) return;
  throw new JobError("invalid_options", `${field} must be ${min} to ${max}; got ${value}.`, {
    field,
    value,
  });
}

function checkWhole(field: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw new JobError(
    "invalid_options",
    `${field} must be a whole number from ${min} to ${max}; got ${value}.`,
    { field, value },
  );
}
