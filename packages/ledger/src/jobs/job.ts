import type { BucketRange, Lane } from "@evenkeel/core";

/** Where a job stands. The last three are rows of the history, to which a settled job moves. */
export type JobStatus = "SCHEDULED" | "PENDING" | "RUNNING" | "SUCCEEDED" | "DEAD" | "CANCELLED";

/**
 * Which status may follow which. A job begins as `SCHEDULED` where it is due later, else as `PENDING`: available to a
 * claim. `RUNNING` is claimed: held, and from `started_at` on run by its handler. It goes back to `PENDING` when it is
 * released or its lease expires, and to `SCHEDULED` on a retry or a snooze. `RUNNING` follows itself when the run of an
 * isolated job takes it over from the drain that delegated it. `PENDING` goes back to `SCHEDULED` when it is put off, or
 * set aside as no host knows its type. Whoever may decide about a job cancels it in any of the first three. Every
 * statement that changes a status asks for the old one, and out of `RUNNING` for the fence or the expired lease too,
 * unless it cancels. `job-transitions.test.ts` holds the statements to this table.
 */
export const jobTransitions: Readonly<Record<JobStatus, readonly JobStatus[]>> = {
  SCHEDULED: ["PENDING", "RUNNING", "CANCELLED"],
  PENDING: ["SCHEDULED", "RUNNING", "CANCELLED"],
  RUNNING: ["RUNNING", "SCHEDULED", "PENDING", "SUCCEEDED", "DEAD", "CANCELLED"],
  SUCCEEDED: [],
  DEAD: [],
  CANCELLED: [],
};

/** A job to be stored. Its fields have been checked by the caller (`@evenkeel/jobs`). */
export interface NewJob {
  readonly tenantId: string;
  readonly type: string;
  readonly version: number;
  /** The payload as JSON text, so that it is encoded once. No NUL and no lone surrogate. */
  readonly payloadText: string;
  /** -10 to 10, defaults to 0. Each level counts as ten minutes of waiting. */
  readonly priority?: number;
  /** When it is due. Defaults to now, by the database's clock. */
  readonly runAt?: Date;
  /** Milliseconds from now until it is due, by the database's clock. Defaults to 0. Ignored beside `runAt`. */
  readonly delayMs?: number;
  /** Attempts after which a failure is final, at least 1. */
  readonly maxAttempts: number;
  /**
   * At most one waiting job per tenant, type and key. A job that waits holds its key; when it runs, one more may wait.
   * One whose worker died in its last attempt, or for the `maxCrashes`th time, waits for its death alone, and holds none.
   * Defaults to no key.
   */
  readonly uniqueKey?: string;
  /** How often in a row the worker of a job of `uniqueKey` may die. Defaults to any number. Ignored without a key. */
  readonly maxCrashes?: number;
  /** What else holds `uniqueKey`, and what becomes of a job that waits. Ignored without a key. */
  readonly uniqueness?: Uniqueness;
  readonly correlationId?: string;
}

/** What holds a unique key beside a job that waits, and what becomes of that job. */
export interface Uniqueness {
  /**
   * The statuses beside `SCHEDULED` and `PENDING` in which a job holds its key. One that has ended holds it with a
   * `periodMs` only. Defaults to none, and with a `periodMs` to `RUNNING` and `SUCCEEDED`.
   */
  readonly states?: readonly JobStatus[];
  /**
   * The most milliseconds after its enqueueing for which a job that runs or has ended holds the key. It is kept as long,
   * whatever becomes of the history. Defaults to no limit.
   */
  readonly periodMs?: number;
  /**
   * What becomes of a job that waits and holds the key. `keep`: it stays as it is. `replace`: it gets all of the new job
   * but its id, and begins anew: attempts, errors and recorded effects are gone. Defaults to `keep`.
   */
  readonly onConflict?: "keep" | "replace";
  /** A job that is replaced is due at most so many milliseconds after it was created. Defaults to no limit. */
  readonly maxDelayMs?: number;
}

/** What became of one job to be stored. */
export interface InsertedJob {
  readonly id: string;
  /** `false`: another job holds the unique key; `id` is that job's. */
  readonly created: boolean;
  /** `true`: the job `id` waited, and was given what this one had. */
  readonly replaced?: boolean;
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
  /**
   * The attempt that its start will count (`JobStore.start`): 1 for the first. Above `maxAttempts`: its workers died, and
   * no attempt is left to start.
   */
  readonly attempt: number;
  readonly maxAttempts: number;
  /** How often in a row its worker died while its handler ran. */
  readonly crashes: number;
  /** Every later write under this claim must show it. */
  readonly fence: string;
  readonly runAt: Date;
  readonly correlationId: string | null;
  readonly errors: readonly RecordedAttemptError[];
}

/** What to claim. */
export interface ClaimRequest {
  /** The lane that claims: it is on record with the job, and has a rotation over the tenants of its own. */
  readonly lane: Lane;
  /** The tenants of the lane, by their buckets (`bucketOf`). Defaults to all. */
  readonly buckets?: BucketRange;
  /** The types to claim; jobs of others stay as they are. An empty list claims nothing. */
  readonly types: readonly string[];
  /**
   * The newest version that this host knows of each type, by type. Jobs of a newer version are left to newer hosts, as
   * they are. Defaults, as a whole and for a type that is not in it, to any version.
   */
  readonly versions?: Readonly<Record<string, number>>;
  /** Tenants that get nothing now, though their turn comes. At most 1,000; defaults to none. */
  readonly exceptTenants?: readonly string[];
  /** Most jobs claimed, 1 to 10,000; 0 claims nothing. */
  readonly limit: number;
  /** Milliseconds until another may claim the jobs, unless a heartbeat renews the lease. */
  readonly leaseMs: number;
  /** Who holds the lease, for people: it stands in explanations and in the error of an expired lease. */
  readonly owner: string;
  /**
   * The tenant behind which the rotation continues. Defaults to where the lane's shared rotation stands, which this
   * claim then moves: so short-lived runners take turns over all tenants too.
   */
  readonly afterTenant?: string;
}

/** The claimed jobs, interleaved by tenant, and where the rotation continues. */
export interface ClaimResult {
  readonly jobs: ClaimedJob[];
  readonly lastTenant?: string;
  /** Whether a cap or a rate kept due work from being claimed, or another claim was deciding about it. */
  readonly throttled: boolean;
}

/** One held job, and the fence that proves it. */
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
    /** Due again after the delay, in milliseconds; the attempt counts. */
    | { readonly kind: "retry"; readonly delayMs: number; readonly error: AttemptError }
    /**
     * Due again after the delay, in milliseconds, without a failure; the attempt does not count. `hasRun` defaults to
     * `true`; `false` keeps its count of crashes.
     */
    | { readonly kind: "snooze"; readonly delayMs: number; readonly hasRun?: boolean }
    /** Due as before; the attempt does not count. `hasRun` defaults to `true`; `false` keeps its count of crashes. */
    | { readonly kind: "released"; readonly hasRun?: boolean }
    | { readonly kind: "dead"; readonly reason: JobDeathReason; readonly error: AttemptError }
    | { readonly kind: "cancelled" }
  );

/** Whether a text fits a bigint; anything else is the id of no job. */
export function isJobId(id: string): boolean {
  return /^\d{1,18}$/u.test(id);
}

/** Compares ids by their numbers: decimal texts without leading zeros. */
export function compareIds(a: string, b: string): number {
  return a.length - b.length || (a < b ? -1 : 1);
}
