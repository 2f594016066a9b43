import type { Lane } from "@evenkeel/core";

import { acquireLanePoller, hasLanePoller, releaseLanePoller } from "./poller-lease.ts";
import { createClaim } from "./claim/claim.ts";
import { ClaimWatermarks } from "./claim/watermarks.ts";
import { claimJobById, type ClaimByIdRequest } from "./claim/claim-by-id.ts";
import { createJobEffectStore, type JobEffectStore } from "./effects.ts";
import {
  countJobs,
  findUnknownTypes,
  hasDueJobs,
  type JobCounts,
  type TypeCount,
} from "./backlog.ts";
import { insertJobs } from "./insertion.ts";
import { recordProgress, type ProgressReport } from "./progress.ts";
import { settleJobs } from "./settlement.ts";
import { recordCrash, renewLeases } from "./lease.ts";
import type {
  ClaimedJob,
  ClaimRequest,
  ClaimResult,
  InsertedJob,
  JobClaim,
  NewJob,
  Settlement,
} from "./job.ts";
import type { SqlClient } from "../database/database.ts";

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
