import type { Opcode } from "../call/opcode.ts";
import type { Journal } from "../journal.ts";
import type { Job } from "../queue/job.ts";
import type { StandardError } from "../run/run-error.ts";
import type { Run, StepStatus } from "../run/run.ts";
import { recordStep } from "../run/run.ts";

/** What the response handler has to do after the opcodes of a response. */
export type OpcodeOutcome =
  | { readonly kind: "handled" }
  | { readonly kind: "retry"; readonly retryAtMs: number | undefined; readonly message: string }
  | { readonly kind: "fail"; readonly error: StandardError };

/** Where an opcode stands: its job, and the parallel batch it opens or belongs to. */
export interface OpcodeContext {
  readonly job: Job;
  readonly run: Run;
  readonly batchKey: string | undefined;
  /** Whether the app says that a failure must not be tried again. */
  readonly isFinal: boolean;
  /** When the app wants a failure to be tried again. */
  readonly retryAtMs: number | undefined;
}

/** The outcome of an opcode that needs nothing more. */
export const handled: OpcodeOutcome = { kind: "handled" };

/** Returns the outcome of an opcode that fails its run at once. */
export function failRun(name: string, message: string, detail?: string): OpcodeOutcome {
  return { kind: "fail", error: { error: detail ?? message, name, message } };
}

/** Whether the branches of the opcode's parallel batch continue each by itself. */
export function isRace(op: Opcode): boolean {
  return op.opts["parallelMode"] === "race";
}

/** Notes where an opcode's step stands, for those who ask about the run. */
export function recordOpcode(run: Run, op: Opcode, status: StepStatus): void {
  recordStep(run, { id: op.id, name: op.displayName, op: op.op }, status);
}

/** Notes a step that the engine leaves out, and its run goes on without. */
export function recordUnsupported(run: Run, step: Opcode, journal: Journal): void {
  journal.record("warn", "step.unsupported", {
    function: run.fn.slug,
    runId: run.id,
    step: step.displayName,
    op: step.op,
  });
}
