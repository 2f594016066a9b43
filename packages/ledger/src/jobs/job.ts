/** Where a job stands. The last three are rows of the history, where a settled job moves. */
export type JobStatus = "PENDING" | "RUNNING" | "SUCCEEDED" | "DEAD" | "CANCELLED";

/**
 * Which status may follow which. `PENDING` covers what is due and what is scheduled: `run_at` tells.
 * `RUNNING` follows itself when an expired lease is claimed again under a new fence, and goes back to
 * `PENDING` on a retry, a snooze or a release. Every statement that changes a status asks for the old one,
 * and out of `RUNNING` for the fence too.
 */
export const jobTransitions: Readonly<Record<JobStatus, readonly JobStatus[]>> = {
  PENDING: ["RUNNING", "CANCELLED"],
  RUNNING: ["RUNNING", "PENDING", "SUCCEEDED", "DEAD", "CANCELLED"],
  SUCCEEDED: [],
  DEAD: [],
  CANCELLED: [],
};
