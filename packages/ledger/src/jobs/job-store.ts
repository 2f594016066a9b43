import type { Lane } from "@evenkeel/core";

import { acquireLanePoller, hasLanePoller, releaseLanePoller } from "./poller-lease.ts";
import { createClaim } from "./claim/claim.ts";
import { ClaimWatermarks } from "./claim/watermarks.ts";
import { claimJobById, type ClaimByIdRequest } from "./claim/claim-by-id.ts";
import { createJobEffectStore, type JobEffectStore } from "./effects.ts";
import { countJobs, findUnknownTypes, type JobCounts, type TypeCount } from "./backlog.ts";
import { insertJobs } from "./insertion.ts";
import { recordProgress, type ProgressReport } from "./progress.ts";
import { hasDueJobs } from "./claim/tenant-rotation.ts";
import { settleJobs } from "./settlement.ts";
import { recordCrash, renewLeases } from "./lease.ts";
import type { JobStatus } from "./job.ts";
import type { SqlClient } from "../database/database.ts";

/** A job to be stored. Its fields have been checked by the caller (`@evenkeel/jobs`). */
export interface NewJob {
  readonly tenantId: string;
  readonly type: string;
  readonly version: number;
  /** The payload as JSON text, so that it is encoded once. No NUL and no lone surrogate. */
  readonly payloadText: string;
  readonly lane: Lane;
  /** -10 to 10, 0 if absent: each level counts as ten minutes of waiting. */
  readonly priority?: number;
  /** When it is due; at once if absent. */
  readonly runAt?: Date;
  /** Due this many milliseconds from now, by the database's clock. Ignored beside `runAt`. */
  readonly delayMs?: number;
  readonly maxAttempts: number;
  /** At most one unsettled job per tenant, type and unique key, or as `uniqueness` says. */
  readonly uniqueKey?: string;
  readonly uniqueness?: Uniqueness;
  readonly correlationId?: string;
}

/** How long a job holds its unique key. */
export interface Uniqueness {
  /**
   * While it is in one of these states, `PENDING` and `RUNNING` by default. One that has ended holds it for as long
   * as the history keeps it, if not for a shorter period.
   */
  readonly states?: readonly JobStatus[];
  /** And no longer than so many milliseconds after it was enqueued. */
  readonly periodMs?: number;
}

/** The answer to one stored job, in the order asked. */
export interface InsertedJob {
  readonly id: string;
  /** `false`: another job holds the unique key; `id` is that job's. */
  readonly created: boolean;
}

/** Why and where an attempt failed. The store keeps the last 20 of a job, each within 4 KiB. */
export interface AttemptError {
  /** A closed set's code, an errno, or the error's name. */
  readonly code: string;
  readonly message: string;
  readonly stack?: string;
}

/** An {@link AttemptError} as recorded. */
export interface RecordedAttemptError extends AttemptError {
  readonly attempt: number;
  /** ISO 8601, the database's clock. */
  readonly at: string;
}

/** A job under a lease. */
export interface ClaimedJob {
  readonly id: string;
  readonly tenantId: string;
  readonly type: string;
  readonly version: number;
  readonly payload: unknown;
  /** -10 to 10: each level counts as ten minutes of waiting. */
  readonly priority: number;
  /** 1 for the first attempt. Above `maxAttempts`: its workers died, and no attempt is left to start. */
  readonly attempt: number;
  readonly maxAttempts: number;
  /**
   * How often in a row its worker went away while it ran it. The first time counts for all that the worker held,
   * later ones for what {@link JobStore.recordCrash} was called of.
   */
  readonly crashes: number;
  /** Every later write under this claim must show it. */
  readonly fence: string;
  readonly runAt: Date;
  readonly correlationId: string | null;
  readonly errors: readonly RecordedAttemptError[];
}

/** What to claim. */
export interface ClaimRequest {
  readonly lane: Lane;
  /** Only jobs of these types; others stay as they are. */
  readonly types: readonly string[];
  /** Most jobs claimed, 1 to 10,000. */
  readonly limit: number;
  readonly leaseMs: number;
  readonly owner: string;
  /**
   * Goes on behind this tenant. Absent: behind the tenant where the lane's shared rotation stands, which
   * moves on, so that short-lived runners take turns over all tenants too.
   */
  readonly afterTenant?: string;
}

/** The claimed jobs, interleaved by tenant, and where the rotation goes on. */
export interface ClaimResult {
  readonly jobs: ClaimedJob[];
  readonly lastTenant?: string;
  /** Due work was met that a cap or a rate stands in the way of, or that another claim was deciding about. */
  readonly throttled: boolean;
}

/** One held job, for a heartbeat. */
export interface JobClaim {
  readonly id: string;
  readonly fence: string;
}

/** Why a job went to the dead letters. */
export type JobDeathReason =
  | "terminal"
  | "exhausted"
  | "timeout"
  | "schema"
  | "poison"
  | "in_doubt";

/** How an attempt ended. */
export type Settlement = JobClaim &
  (
    | { readonly kind: "succeeded"; readonly result?: unknown }
    /** Tried again after the delay; the attempt counts. */
    | { readonly kind: "retry"; readonly delayMs: number; readonly error: AttemptError }
    /** Put off without a failure; the attempt is given back. `hasRun: false`: its count of crashes stays. */
    | { readonly kind: "snooze"; readonly delayMs: number; readonly hasRun?: boolean }
    /** Due as before, the attempt is given back. `hasRun: false`: its count of crashes stays. */
    | { readonly kind: "released"; readonly hasRun?: boolean }
    | { readonly kind: "dead"; readonly reason: JobDeathReason; readonly error: AttemptError }
    | { readonly kind: "cancelled" }
  );

/**
 * The queue in Postgres. Every method is one statement (repeated only where a concurrent writer got in
 * between); the database's clock decides what is due and which lease has expired.
 */
export interface JobStore {
  /**
   * Stores jobs, all or none, in one statement.
   *
   * @param client The caller's transaction; `undefined` commits at once.
   */
  insert(client: SqlClient | undefined, jobs: readonly NewJob[]): Promise<InsertedJob[]>;
  /**
   * Claims due jobs and jobs whose lease expired, in turn over the tenants, under a new fence each. Nothing is
   * claimed of what is paused, nor more than caps and rates allow, however many claim at once.
   */
  claim(request: ClaimRequest): Promise<ClaimResult>;
  /**
   * Takes over a job that was handed over under this fence, due or not, under a new one. `undefined`: it was
   * claimed since, has ended, is paused, or is not of these types.
   */
  claimById(request: ClaimByIdRequest): Promise<ClaimedJob | undefined>;
  /**
   * Writes how many crashes a held job will have had if its worker goes away from now on; a settlement takes it back.
   * `false`: it is not held.
   */
  recordCrash(claim: JobClaim, crashes: number): Promise<boolean>;
  /** Renews leases. Answers the ids still held; the others belong to someone else or are settled. */
  heartbeat(claims: readonly JobClaim[], leaseMs: number): Promise<Set<string>>;
  /**
   * Ends attempts. Answers the ids accepted; a refused one's fence is no longer held.
   *
   * @param client The caller's transaction; absent: commits at once.
   */
  settle(settlements: readonly Settlement[], client?: SqlClient): Promise<Set<string>>;
  /** Writes how far held jobs are; those no longer held, or locked at the moment, are left out. */
  recordProgress(reports: readonly ProgressReport[]): Promise<void>;
  /** What held jobs do outside the database. */
  readonly effects: JobEffectStore;
  /** Whether any job of these types could be claimed now. */
  hasDue(request: { readonly lane: Lane; readonly types: readonly string[] }): Promise<boolean>;
  /**
   * Takes or renews a lane's attendance: one drain at a time waits for its new jobs. `false`: another's has not
   * expired.
   */
  acquirePoller(request: {
    readonly lane: Lane;
    /** A UUID of the drain's own. */
    readonly pollerId: string;
    readonly forMs: number;
  }): Promise<boolean>;
  /** Gives the attendance back, before a last claim. */
  releasePoller(request: { readonly lane: Lane; readonly pollerId: string }): Promise<void>;
  /**
   * Whether a drain waits for the lane's new jobs. After a commit, `true` means that a claim comes which sees what
   * was committed, unless that drain's host dies.
   */
  hasPoller(lane: Lane): Promise<boolean>;
  /** Numbers over the whole queue and its history, for reports: it reads both tables. */
  counts(): Promise<JobCounts>;
  /**
   * Jobs that wait for a runner which knows their type: of types not among `types`, pending or left behind
   * by a runner that died. At most 10,000 of each are counted.
   */
  unknownTypes(request: {
    readonly lane: Lane;
    readonly types: readonly string[];
  }): Promise<TypeCount[]>;
}

/** The job store on a connection pool. */
export function createJobStore(sql: SqlClient): JobStore {
  const watermarks = new ClaimWatermarks();
  return {
    insert: (client, jobs) => {
      if (jobs.some(({ runAt }) => runAt !== undefined)) watermarks.clear();
      return insertJobs(client ?? sql, jobs);
    },
    claim: createClaim(sql, watermarks),
    claimById: (request) => claimJobById(sql, request),
    recordCrash: (claim, crashes) => recordCrash(sql, claim, crashes),
    heartbeat: (claims, leaseMs) => renewLeases(sql, claims, leaseMs),
    settle: async (settlements, client) => {
      const accepted = await settleJobs(client ?? sql, settlements);
      if (settlements.some(({ kind }) => kind === "released")) watermarks.clear();
      return accepted;
    },
    recordProgress: (reports) => recordProgress(sql, reports),
    effects: createJobEffectStore(sql),
    hasDue: (request) => hasDueJobs(sql, request),
    acquirePoller: (request) => acquireLanePoller(sql, request),
    releasePoller: (request) => releaseLanePoller(sql, request),
    hasPoller: (lane) => hasLanePoller(sql, lane),
    counts: () => countJobs(sql),
    unknownTypes: (request) => findUnknownTypes(sql, request),
  };
}
