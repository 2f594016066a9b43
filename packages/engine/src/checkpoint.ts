import { type Opcode, readOpcode } from "./call/call-response.ts";
import type { Executor } from "./executor.ts";
import type { Journal } from "./journal.ts";
import type { Json } from "./json.ts";
import type { RunStore } from "./run/run-store.ts";
import { isEnded, memoizeStep, recordStep } from "./run/run.ts";

/** A checkpoint that the server refuses, with the status of its response. */
export class CheckpointRefusedError extends Error {
  override readonly name = "CheckpointRefusedError";
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** What the SDK reports of steps that it ran without asking. */
export interface CheckpointReport {
  readonly runId: string;
  readonly queueItem: string;
  readonly generation: number | undefined;
  readonly steps: readonly Json[];
}

const maxStepBytes = 4 * 1024 * 1024;
const maxStateBytes = 32 * 1024 * 1024;

/**
 * Takes in the steps that an app ran within one request, so that a later request does not run them
 * again.
 *
 * @throws CheckpointRefusedError for an unknown run, a request that has been replaced (409), an opcode
 *   that is no finished step, or too large an output (413).
 */
export function acceptCheckpoint(
  report: CheckpointReport,
  deps: { runs: RunStore; executor: Executor; journal: Journal },
): void {
  const run = deps.runs.find(report.runId);
  if (run === undefined || isEnded(run)) {
    throw new CheckpointRefusedError(400, "run not found in state store");
  }
  const jobId = report.queueItem.slice(run.id.length + 1);
  const job = deps.executor.findJob(run.id, jobId);
  if (report.generation !== undefined && (job?.generation ?? 0) !== report.generation) {
    throw new CheckpointRefusedError(409, "stale dispatch: the request has been replaced");
  }
  const steps = report.steps.map((step) => checkStep(readOpcode(step)));
  for (const step of steps) {
    if (step.op !== "StepRun" && step.op !== "Step") continue;
    const value = step.op === "Step" ? step.data : { data: step.data };
    const bytes = JSON.stringify(value).length;
    if (bytes > maxStepBytes || run.stateBytes + bytes > maxStateBytes) {
      throw new CheckpointRefusedError(413, `step ${step.id} output too large`);
    }
    const { isNew } = memoizeStep(run, step.id, value);
    if (!isNew) continue;
    recordStep(run, { id: step.id, name: step.displayName, op: step.op }, "completed");
    deps.journal.record("debug", "step.checkpointed", {
      function: run.fn.slug,
      runId: run.id,
      step: step.displayName,
    });
  }
  if (job !== undefined) job.attempt = 0;
}

function checkStep(step: Opcode | undefined): Opcode {
  if (step === undefined) throw new CheckpointRefusedError(400, "invalid request body");
  if (!["StepRun", "Step", "StepPlanned"].includes(step.op)) {
    throw new CheckpointRefusedError(400, "cannot checkpoint async steps");
  }
  return step;
}
