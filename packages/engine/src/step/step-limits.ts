import type { StandardError } from "../run/run-error.ts";
import type { Run } from "../run/run.ts";
import { type OpcodeOutcome, failRun } from "./opcode-outcome.ts";

/** The most steps of a run, and the most opcodes of one response. */
export const maxSteps = 1_000;

/** The most bytes that the results of a run's steps may take together. */
export const maxStateBytes: number = 32 * 1024 * 1024;

const overflowName = "InngestErrFunctionOverflowed";
const overflowMessage = `The function run exceeded the step limit of ${maxSteps} steps.`;

/** Returns the error of a run that has used up its steps; `undefined` while it has not. */
export function checkStepLimit(run: Run): StandardError | undefined {
  if (run.memo.size < maxSteps) return undefined;
  return { error: "function has too many steps", name: overflowName, message: overflowMessage };
}

/** Returns the outcome of a response with more opcodes than a run may have steps. */
export function failForStepLimit(): OpcodeOutcome {
  return failRun(overflowName, overflowMessage);
}

/** Returns the outcome of a step whose result is more than its run may keep. */
export function failForStateLimit(): OpcodeOutcome {
  return failRun(
    "InngestErrStateOverflowed",
    `The function run exceeded the state size limit of ${maxStateBytes} bytes.`,
    "state_overflowed",
  );
}
