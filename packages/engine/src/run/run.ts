import type { FunctionConfig } from "../app/function-config.ts";
import type { StoredEvent } from "../event/event.ts";
import type { Json } from "../json.ts";

/** Where a run stands, in the words of the runs API. */
export type RunStatus = "Scheduled" | "Running" | "Completed" | "Failed" | "Cancelled";

/** How far a step has come. */
export type StepStatus = "planned" | "waiting" | "errored" | "completed" | "failed" | "timed out";

/** What is known of one step of a run. */
export interface StepRecord {
  /** The hashed id that the SDK sends. */
  readonly id: string;
  readonly name: string;
  readonly op: string;
  status: StepStatus;
  /** Times it was reported as tried. */
  attempts: number;
}

/** A limit that a request or a run counts against, and the key it is counted under. */
export interface ConcurrencyClaim {
  /** Names the slot; runs with equal keys share one limit. */
  readonly key: string;
  /** How many may hold the slot at once. */
  readonly limit: number;
}

/** A run of a function with its memoised state. */
export interface Run {
  readonly id: string;
  /** 1 for the first run of this engine. */
  readonly ordinal: number;
  readonly fn: FunctionConfig;
  readonly events: readonly StoredEvent[];
  readonly idempotencyKey: string;
  readonly queuedAtMs: number;
  readonly batchId?: string;
  readonly cron?: string;
  readonly singletonKey?: string;
  /** Claims held by each request of the run. */
  readonly claims: readonly ConcurrencyClaim[];
  /** Claims held from the first request until the run ends. */
  readonly runClaims: readonly ConcurrencyClaim[];
  readonly throttleKey?: string;
  /** Milliseconds by which it stands ahead of runs queued at the same moment. */
  readonly headStartMs: number;
  status: RunStatus;
  startedAtMs: number | undefined;
  endedAtMs: number | undefined;
  output: Json | undefined;
  /** Results by hashed step id, wrapped as the SDK reads them. */
  readonly memo: Map<string, Json>;
  /** Step ids in the order of completion. */
  stack: string[];
  /** Steps of the present parallel batch that are not settled. */
  readonly pending: Set<string>;
  /** Jobs that were ever queued: one id, one job. */
  readonly jobIds: Set<string>;
  forceStepPlan: boolean;
  /** The SDK's execution version; -1 until its first response. */
  requestVersion: number;
  stateBytes: number;
  readonly steps: Map<string, StepRecord>;
}

/** What a new run is made of. */
export type NewRun = Pick<
  Run,
  "id" | "fn" | "events" | "idempotencyKey" | "queuedAtMs" | "claims" | "runClaims" | "headStartMs"
> &
  Partial<Pick<Run, "batchId" | "cron" | "singletonKey" | "throttleKey">>;

/** Creates a run in its first state. */
export function newRun(fields: NewRun, ordinal: number): Run {
  return {
    ...fields,
    ordinal,
    status: "Scheduled",
    startedAtMs: undefined,
    endedAtMs: undefined,
    output: undefined,
    memo: new Map(),
    stack: [],
    pending: new Set(),
    jobIds: new Set(),
    forceStepPlan: false,
    requestVersion: -1,
    stateBytes: 0,
    steps: new Map(),
  };
}

/** Whether a run has come to its end. */
export function isEnded(run: Run): boolean {
  return run.status !== "Scheduled" && run.status !== "Running";
}

/**
 * Records a step's result once; a repeated one is ignored.
 *
 * @returns whether it was recorded, and whether other steps of its parallel batch are still open.
 */
export function memoizeStep(
  run: Run,
  stepId: string,
  value: Json,
): { isNew: boolean; hasPending: boolean } {
  run.pending.delete(stepId);
  const isNew = !run.memo.has(stepId);
  if (isNew) {
    run.memo.set(stepId, value);
    run.stack.push(stepId);
    run.stateBytes += JSON.stringify(value).length;
  }
  return { isNew, hasPending: run.pending.size > 0 };
}

/** Notes where a step stands, for those who ask about the run. */
export function recordStep(
  run: Run,
  step: { readonly id: string; readonly name: string; readonly op: string },
  status: StepStatus,
): void {
  const known = run.steps.get(step.id);
  const tries = status === "errored" || status === "completed" || status === "failed" ? 1 : 0;
  if (known === undefined) {
    run.steps.set(step.id, { ...step, status, attempts: tries });
    return;
  }
  known.status = status;
  known.attempts += tries;
}
