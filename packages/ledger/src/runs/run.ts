import type { Lane } from "@evenkeel/core";

/** Where a function run stands. */
export type RunStatus =
  | "RUNNING"
  | "SUCCEEDED"
  | "FAILED"
  | "CANCELLED"
  | "STALE"
  | "SKIPPED_DUPLICATE";

/** How a run can end by its own account. */
export type FinishedRunStatus = Exclude<RunStatus, "RUNNING" | "STALE">;

/**
 * Which status may follow which. `RUNNING` follows itself when another worker continues the run under a new fence;
 * a stale run that comes back is taken over the same way, or ends as a duplicate of the run that replaced it.
 */
export const runTransitions: Readonly<Record<RunStatus, readonly RunStatus[]>> = {
  RUNNING: ["RUNNING", "SUCCEEDED", "FAILED", "CANCELLED", "STALE", "SKIPPED_DUPLICATE"],
  STALE: ["RUNNING", "SUCCEEDED", "FAILED", "CANCELLED", "SKIPPED_DUPLICATE"],
  SUCCEEDED: [],
  FAILED: [],
  CANCELLED: [],
  SKIPPED_DUPLICATE: [],
};

/** Names one run of one function: Inngest's run id and the function's full id. */
export interface RunIdentity {
  readonly runId: string;
  readonly functionId: string;
}

/** A run that a worker starts or continues. */
export interface RunStart extends RunIdentity {
  readonly eventName: string;
  readonly eventId?: string;
  readonly dispatchKey?: string;
  readonly continuation?: number;
  readonly lane?: Lane;
  readonly tenantId?: string;
  readonly correlationId?: string;
  /** Names the worker for people; it is no fence, and may name another worker too. */
  readonly owner: string;
  /**
   * The worker's process, by a random UUID of its own: only the same holder continues a run under its fence. Absent: of
   * no process, and each `begin` gets a new fence.
   */
  readonly holder?: string;
  /** Inngest's attempt, 0 for the first. */
  readonly attempt: number;
}

/** How an attempt ended. */
export interface AttemptEnd extends RunIdentity {
  readonly attempt: number;
  /** Absent when the attempt succeeded. */
  readonly error?: string;
}

/** How a run ended. */
export interface RunEnd extends RunIdentity {
  readonly status: FinishedRunStatus;
  /**
   * The fence that the worker got from `begin`. Without it the end is Inngest's own word
   * (`inngest/function.failed`), which no fence outranks.
   */
  readonly fence?: string;
  readonly output?: unknown;
  readonly error?: string;
  /** For `SKIPPED_DUPLICATE`: the run that holds the window. */
  readonly duplicateOf?: string;
}

/** Which runs to mark as stale. */
export interface SilentRuns {
  /** How long a run's worker must have been silent, in milliseconds of the database's clock. */
  readonly silentMs: number;
  /** Most runs marked in one call, the longest silent first. */
  readonly limit: number;
}
