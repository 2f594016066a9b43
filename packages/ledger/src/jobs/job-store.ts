import type { Lane } from "@evenkeel/core";

import { within, type SqlClient } from "../database/database.ts";
import {
  countJobs,
  findUnknownTypes,
  hasDueJobs,
  type DueRequest,
  type JobCounts,
  type TypeCount,
} from "./backlog.ts";
import { createAvailability } from "./claim/availability.ts";
import { claimJobById, type ClaimByIdRequest } from "./claim/claim-by-id.ts";
import { createClaim } from "./claim/claim.ts";
import { ClaimWatermarks } from "./claim/watermarks.ts";
import { createJobEffectStore, type JobEffectStore } from "./effects.ts";
import { insertJobs } from "./insertion.ts";
import type {
  ClaimedJob,
  ClaimRequest,
  ClaimResult,
  InsertedJob,
  JobClaim,
  NewJob,
  Settlement,
} from "./job.ts";
import { findStandings, renewLeases, startJobs, type ClaimStanding } from "./lease.ts";
import { acquireLanePoller, hasLanePoller, releaseLanePoller } from "./poller-lease.ts";
import { recordProgress, type ProgressReport } from "./progress.ts";
import { settleJobs, settleJobsWithin } from "./settlement.ts";

/**
 * The queue in Postgres. Every method is one statement, repeated only where a concurrent writer got in between. The
 * database's clock decides what is due and which lease has expired.
 */
export interface JobStore {
  /**
   * Stores jobs, all or none, in one statement.
   *
   * @param client The caller's transaction; `undefined` commits at once.
   * @returns What became of each job, in the order given.
   */
  insert(client: SqlClient | undefined, jobs: readonly NewJob[]): Promise<InsertedJob[]>;
  /**
   * Claims available jobs, in turn over the tenants, under a new fence each. What has become due, and what leases that
   * expired left, is made available before. It claims nothing that is paused, and no more than caps and rates allow,
   * however many claim at once. Nothing counts as an attempt yet: see `start`.
   */
  claim(request: ClaimRequest): Promise<ClaimResult>;
  /**
   * Takes over a job that was delegated under this fence, due or not, under a new one.
   *
   * @returns `undefined`: it was claimed since, has ended, is paused, or is not of these types.
   */
  claimById(request: ClaimByIdRequest): Promise<ClaimedJob | undefined>;
  /**
   * Puts on record that the handlers of held jobs start now: the attempt counts, and if the worker dies from now on, a
   * crash. What is only held when its worker dies goes back as it was.
   *
   * @returns The ids still held. The others must not start.
   */
  start(claims: readonly JobClaim[]): Promise<Set<string>>;
  /**
   * Renews leases. A lease that expired is renewed as well, until a claim makes its job available again.
   *
   * @param leaseMs Milliseconds from now until the leases expire.
   * @returns The ids renewed. `standingOf` tells of the others: they are no longer held, or another transaction has them
   * locked, which it does not wait for.
   */
  heartbeat(claims: readonly JobClaim[], leaseMs: number): Promise<Set<string>>;
  /**
   * Ends attempts under the fences shown.
   *
   * @param client The caller's transaction, in which it waits for jobs that others have locked. `undefined` commits at
   * once, and passes them over.
   * @returns The ids settled. `standingOf` tells of the others.
   */
  settle(settlements: readonly Settlement[], client?: SqlClient): Promise<Set<string>>;
  /**
   * Returns where claims stand, by id: `held` under its fence, though another transaction may have locked the job;
   * `cancelled`; or `lost` to another, or ended. It locks nothing.
   */
  standingOf(claims: readonly JobClaim[]): Promise<Map<string, ClaimStanding>>;
  /** Records how far held jobs are. Those no longer held, or locked at the moment, are left out. */
  recordProgress(reports: readonly ProgressReport[]): Promise<void>;
  /** The record of what held jobs do outside the database. */
  readonly effects: JobEffectStore;
  /** Returns whether any job of these types could be claimed now. */
  hasDue(request: DueRequest): Promise<boolean>;
  /**
   * Acquires or renews a lane's poller lease. Its holder is the one drain that polls the lane for new jobs.
   *
   * @returns `false`: another drain's lease has not expired.
   */
  acquirePoller(request: {
    readonly lane: Lane;
    /** A UUID of the drain's own. */
    readonly pollerId: string;
    /** Milliseconds from now until the lease expires. */
    readonly forMs: number;
  }): Promise<boolean>;
  /** Releases a lane's poller lease, before a last claim. It does nothing where another drain holds it. */
  releasePoller(request: { readonly lane: Lane; readonly pollerId: string }): Promise<void>;
  /**
   * Returns whether a drain holds the lane's poller lease. After a commit, `true` means that a claim follows which sees
   * what was committed, unless that drain's host dies.
   */
  hasPoller(lane: Lane): Promise<boolean>;
  /** Returns numbers over the whole queue and its history. It reads both tables. */
  counts(): Promise<JobCounts>;
  /**
   * Returns the types of due jobs that no host knows: of types not among `types`, of which no drain has said for ten
   * minutes that it has a handler. At most 10,000 of each type are counted.
   */
  unknownTypes(request: { readonly types: readonly string[] }): Promise<TypeCount[]>;
}

/** Returns the job store on a connection pool. What is `reserved` has connections that nothing else takes. */
export function createJobStore(
  sql: SqlClient,
  reserved: { readonly heartbeats: SqlClient; readonly settlements: SqlClient } = {
    heartbeats: sql,
    settlements: sql,
  },
): JobStore {
  const watermarks = new ClaimWatermarks();
  const availability = createAvailability(sql, watermarks);
  return {
    insert: (client, jobs) => {
      const isUrgent = ({ runAt, priority = 0 }: NewJob): boolean =>
        runAt !== undefined || priority > 0;
      if (jobs.some(isUrgent)) watermarks.clear();
      return insertJobs(client ?? sql, jobs);
    },
    claim: createClaim(sql, watermarks, availability),
    claimById: (request) => claimJobById(sql, request),
    start: (claims) => startJobs(reserved.settlements, claims),
    heartbeat: (claims, leaseMs) =>
      renewLeases(within(reserved.heartbeats, Math.max(1_000, leaseMs / 4)), claims, leaseMs),
    standingOf: (claims) => findStandings(reserved.heartbeats, claims),
    settle: async (settlements, client) => {
      const accepted =
        client === undefined
          ? await settleJobs(reserved.settlements, settlements)
          : await settleJobsWithin(client, settlements);
      if (settlements.some(({ kind }) => kind === "released")) watermarks.clear();
      return accepted;
    },
    recordProgress: (reports) => recordProgress(sql, reports),
    effects: createJobEffectStore(sql),
    hasDue: (request) => hasDueJobs(sql, availability, request),
    acquirePoller: (request) =>
      acquireLanePoller(within(sql, Math.max(1_000, request.forMs)), request),
    releasePoller: (request) => releaseLanePoller(sql, request),
    hasPoller: (lane) => hasLanePoller(sql, lane),
    counts: () => countJobs(sql),
    unknownTypes: (request) => findUnknownTypes(sql, availability, request),
  };
}
