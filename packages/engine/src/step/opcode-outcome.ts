import type { Opcode } from "../call/call-response.ts";
import type { Job } from "../queue/job.ts";
import type { Run } from "../run/run.ts";
import type { StandardError } from "../run/run-error.ts";

/** What the executor has to do after the opcodes of a response. */
export type OpcodeOutcome =
  | { readonly kind: "handled" }
  | { readonly kind: "retry"; readonly retryAtMs: number | undefined; readonly message: string }
  | { readonly kind: "fail"; readonly error: StandardError };

/** Where an opcode stands: its job, and the parallel batch it opens or belongs to. */
export interface OpcodePlace {
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

/** The outcome of an opcode that fails its run at once. */
export function failRun(name: string, message: string, detail?: string): OpcodeOutcome {
  return { kind: "fail", error: { error: detail ?? message, name, message } };
}

/** Whether the branches of the opcode's parallel batch go on each by itself. */
export function isRace(op: Opcode): boolean {
  return op.opts["parallelMode"] === "race";
}
