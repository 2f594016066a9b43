import {
  type Opcode,
  type OpcodeKind,
  UnreadableOpcodeError,
  lazyKinds,
  readOpcode,
} from "./call/opcode.ts";
import type { Executor } from "./executor.ts";
import type { Journal } from "./journal.ts";
import type { Json } from "./json.ts";
import type { RunStore } from "./run/run-store.ts";
import { type Run, isEnded, memoizeStep, recordStep } from "./run/run.ts";
import { recordUnsupported } from "./step/opcode-outcome.ts";

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
 *   that cannot be checkpointed, or too large an output (413).
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
  const steps = readSteps(report.steps);
  for (const step of steps) {
    if (step.op === "StepPlanned") continue;
    if (lazyKinds.has(step.op)) {
      recordUnsupported(run, step, deps.journal);
      continue;
    }
    if (step.op !== "StepRun" && step.op !== "Step") {
      // What came before it is kept, as on the real server.
      throw new CheckpointRefusedError(400, `cannot checkpoint opcode: ${step.op}`);
    }
    keepStep(run, step, deps.journal);
  }
  if (job !== undefined) job.attempt = 0;
}

/** Memoises a step that the app ran. */
function keepStep(run: Run, step: Opcode, journal: Journal): void {
  const value = step.op === "Step" ? step.data : { data: step.data };
  const bytes = JSON.stringify(value).length;
  if (bytes > maxStepBytes || run.stateBytes + bytes > maxStateBytes) {
    throw new CheckpointRefusedError(413, `step ${step.id} output too large`);
  }
  const { isNew } = memoizeStep(run, step.id, value);
  if (!isNew) return;
  recordStep(run, { id: step.id, name: step.displayName, op: step.op }, "completed");
  journal.record("debug", "step.checkpointed", {
    function: run.fn.slug,
    runId: run.id,
    step: step.displayName,
  });
}

/** The kinds of steps that may stand in a checkpoint; the others make a run wait. */
const syncKinds: ReadonlySet<OpcodeKind> = new Set([
  "Step",
  "StepRun",
  "StepPlanned",
  "StepFailed",
  "RunComplete",
  "SyncRunComplete",
  ...lazyKinds,
]);

function readSteps(list: readonly Json[]): Opcode[] {
  try {
    const steps = list.map(readOpcode);
    if (steps.every((step) => syncKinds.has(step.op))) return steps;
  } catch (error) {
    if (!(error instanceof UnreadableOpcodeError)) throw error;
    throw new CheckpointRefusedError(400, `invalid request body: ${error.message}`);
  }
  throw new CheckpointRefusedError(400, "cannot checkpoint async steps");
}
