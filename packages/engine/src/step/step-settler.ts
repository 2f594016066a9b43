import type { Json } from "../json.ts";
import type { JobQueue } from "../queue/job-queue.ts";
import { type Run, type StepStatus, isEnded, memoizeStep, recordStep } from "../run/run.ts";

/** How a step's result leads to the run's next request. */
export interface Settlement {
  readonly stepId: string;
  readonly value: Json;
  readonly status: StepStatus;
  /** Whether each branch of the parallel batch continues by itself. */
  readonly isRace: boolean;
  readonly batchKey: string | undefined;
  /** Tells the next job's id from others of the same step. */
  readonly suffix?: string;
}

/** Records step results and queues what follows from them. */
export interface StepSettler {
  /**
   * Memoises a result and queues the run's next discovery, unless other steps of the parallel batch
   * are open. Says whether the result was the step's first.
   */
  settle(run: Run, settlement: Settlement): boolean;
  /** Ends the planning of a parallel batch: the SDK may run steps at once again. */
  endPlanning(run: Run): void;
}

function endPlanning(run: Run): void {
  if (run.requestVersion >= 2) run.forceStepPlan = false;
}

/** Creates a {@link StepSettler}. */
export function createStepSettler(deps: { queue: JobQueue }): StepSettler {
  return {
    settle(run, settlement) {
      if (isEnded(run)) return false;
      const { stepId, isRace, batchKey } = settlement;
      const { isNew, hasPending } = memoizeStep(run, stepId, settlement.value);
      if (isNew) {
        const known = run.steps.get(stepId);
        const step = known ?? { id: stepId, name: stepId, op: "" };
        recordStep(run, { id: step.id, name: step.name, op: step.op }, settlement.status);
      }
      if (hasPending && !isRace) return isNew;
      endPlanning(run);
      const id =
        batchKey !== undefined && !isRace
          ? `${batchKey}-discover`
          : `${stepId}${settlement.suffix ?? ""}`;
      deps.queue.enqueue({ id, kind: "discovery", run, fromStepId: stepId, isRace });
      return isNew;
    },
    endPlanning,
  };
}
