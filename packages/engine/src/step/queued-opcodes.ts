import type { Opcode } from "../call/opcode.ts";
import type { JobQueue } from "../queue/job-queue.ts";
import { parseDurationMs } from "../time/duration.ts";
import {
  type OpcodeContext,
  type OpcodeOutcome,
  failRun,
  handled,
  isRace,
  recordOpcode,
} from "./opcode-outcome.ts";

/** The opcodes that queue a job: a planned step, and a sleep. */
export interface QueuedOpcodes {
  planStep(op: Opcode, context: OpcodeContext): OpcodeOutcome;
  sleep(op: Opcode, context: OpcodeContext): OpcodeOutcome;
}

const longestSleepMs = 366 * 86_400_000;

/** Creates {@link QueuedOpcodes}. */
export function createQueuedOpcodes(deps: {
  queue: JobQueue;
  now: () => number;
  /** The engine's time for a time that an app computed from the machine's clock. */
  fromMachine: (timestampMs: number) => number;
}): QueuedOpcodes {
  const { queue, now, fromMachine } = deps;

  function sleepEndMs(text: string): number | undefined {
    if (text === "") return now();
    const date = text.length >= 10 ? Date.parse(text) : Number.NaN;
    if (!Number.isNaN(date) && parseDurationMs(text) === undefined) {
      const remainingMs = Math.round((fromMachine(date) - now()) / 1_000) * 1_000;
      return now() + Math.max(remainingMs, 0);
    }
    const durationMs = parseDurationMs(text);
    return durationMs === undefined ? undefined : now() + durationMs;
  }

  return {
    planStep(op, context) {
      recordOpcode(context.run, op, "planned");
      queue.enqueue({
        id: `${op.id}-plan`,
        kind: "step",
        run: context.run,
        stepId: op.id,
        fromStepId: context.job.fromStepId,
        isRace: isRace(op),
        batchKey: context.batchKey,
      });
      return handled;
    },
    sleep(op, context) {
      const text = typeof op.opts["duration"] === "string" ? op.opts["duration"] : op.name;
      const untilMs = sleepEndMs(text);
      if (untilMs === undefined)
        return failRun("Error", `invalid sleep duration ${JSON.stringify(text)}`);
      if (untilMs > now() + longestSleepMs) {
        return failRun(
          "InngestErrTimeoutTooLong",
          `The sleep ${JSON.stringify(text)} ends more than one year in the future; sleeps may last at most one year.`,
        );
      }
      recordOpcode(context.run, op, "waiting");
      queue.enqueue({
        id: op.id,
        kind: "sleep",
        run: context.run,
        fromStepId: op.id,
        atMs: untilMs,
        isRace: isRace(op),
      });
      return handled;
    },
  };
}
