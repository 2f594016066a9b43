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
 * Which status may follow which. `RUNNING` follows itself when another worker goes on with the run, under a
 * new fence; a stale run that comes back is taken over the same way.
 */
export const runTransitions: Readonly<Record<RunStatus, readonly RunStatus[]>> = {
  RUNNING: ["RUNNING", "SUCCEEDED", "FAILED", "CANCELLED", "STALE", "SKIPPED_DUPLICATE"],
  STALE: ["RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"],
  SUCCEEDED: [],
  FAILED: [],
  CANCELLED: [],
  SKIPPED_DUPLICATE: [],
};
