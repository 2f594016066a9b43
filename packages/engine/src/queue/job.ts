import type { Run } from "../run/run.ts";

/** What calls for a request: the run's start, its next discovery, a planned step, or the end of a sleep. */
export type JobKind = "start" | "discovery" | "step" | "sleep";

/** One piece of queued work of a run: in the end, one request to its app. */
export interface Job {
  /** Unique in its run: the same id is never queued twice. */
  readonly id: string;
  readonly kind: JobKind;
  readonly run: Run;
  /** The step that led here: a settled one, or the sleep that ends. */
  readonly fromStepId: string | undefined;
  /** The planned step to execute; without one the app runs the function to its next step. */
  readonly stepId: string | undefined;
  readonly atMs: number;
  /** Zero-based. */
  attempt: number;
  /** Counts the requests sent for this job: it tells a late response from the present one. */
  generation: number;
  /** Whether its present request has the app plan each step, as its run stood when the request was made. */
  isPlanning: boolean;
  readonly isRace: boolean;
  /** Names the parallel batch that the job belongs to. */
  readonly batchKey: string | undefined;
  /** Its position among jobs of equal rank: lower goes first. */
  order: number;
}

/** A job as its maker describes it. */
export type NewJob = Pick<Job, "id" | "kind" | "run"> &
  Partial<Pick<Job, "fromStepId" | "stepId" | "atMs" | "isRace" | "batchKey">>;

/** Whether a job goes before another: older runs first, each ahead by its priority, then in the order of queueing. */
export function isJobBefore(a: Job, b: Job): boolean {
  return rank(a) < rank(b) || (rank(a) === rank(b) && a.order < b.order);
}

function rank(job: Job): number {
  return job.run.queuedAtMs - job.run.headStartMs;
}
