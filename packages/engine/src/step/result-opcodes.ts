import type { Opcode } from "../call/opcode.ts";
import type { Json, JsonObject } from "../json.ts";
import {
  type OpcodeContext,
  type OpcodeOutcome,
  handled,
  isRace,
  recordOpcode,
} from "./opcode-outcome.ts";
import { failForStateLimit, maxStateBytes } from "./step-limits.ts";
import type { StepSettler } from "./step-settler.ts";

/** The opcodes that tell what became of a step that the app ran. */
export interface ResultOpcodes {
  completeStep(op: Opcode, context: OpcodeContext): OpcodeOutcome;
  /** Settles a step as failed: its function may catch the error. */
  failStep(op: Opcode, context: OpcodeContext): OpcodeOutcome;
  /** Has a step that threw tried again, or settles it as failed when its tries are used up. */
  retryStep(op: Opcode, context: OpcodeContext): OpcodeOutcome;
}

/** Creates {@link ResultOpcodes}. */
export function createResultOpcodes(deps: { settler: StepSettler }): ResultOpcodes {
  const { settler } = deps;

  function failStep(op: Opcode, context: OpcodeContext): OpcodeOutcome {
    recordOpcode(context.run, op, "planned");
    settler.settle(context.run, {
      stepId: op.id,
      value: { error: userError(op, context.isFinal) },
      status: "failed",
      isRace: isRace(op) || context.job.isRace,
      batchKey: undefined,
      suffix: "-failure",
    });
    return handled;
  }

  return {
    completeStep(op, context) {
      const value: Json = op.op === "Step" ? op.data : { data: op.data };
      const bytes = JSON.stringify(value).length;
      if (context.run.stateBytes + bytes > maxStateBytes) return failForStateLimit();
      recordOpcode(context.run, op, "planned");
      settler.settle(context.run, {
        stepId: op.id,
        value,
        status: "completed",
        isRace: isRace(op) || context.job.isRace,
        batchKey: context.job.batchKey,
      });
      return handled;
    },
    failStep,
    retryStep(op, context) {
      const isLast = context.job.attempt + 1 >= context.run.fn.maxAttempts;
      if (context.isFinal || isLast) return failStep(op, context);
      recordOpcode(context.run, op, "errored");
      const message = op.error?.["message"];
      return {
        kind: "retry",
        retryAtMs: context.retryAtMs,
        message: typeof message === "string" ? message : "step error",
      };
    },
  };
}

function userError(op: Opcode, isFinal: boolean): JsonObject {
  const error = op.error ?? {};
  const { name, message, stack, cause, data } = error;
  return {
    name: typeof name === "string" ? name : "Error",
    message: typeof message === "string" ? message : "Step execution error",
    ...(typeof stack === "string" && stack !== "" ? { stack } : {}),
    ...(data === undefined ? {} : { data }),
    ...(isFinal && op.op === "StepError" ? { noRetry: true } : {}),
    ...(cause === undefined ? {} : { cause }),
  };
}
