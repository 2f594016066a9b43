import type { CallResponse } from "../call/call-response.ts";
import { type Opcode, lazyKinds } from "../call/opcode.ts";
import type { EngineEvent } from "../event/event.ts";
import type { Journal } from "../journal.ts";
import type { JobQueue } from "../queue/job-queue.ts";
import type { Job } from "../queue/job.ts";
import type { Finalizer } from "../run/finalizer.ts";
import { type Run, isEnded } from "../run/run.ts";
import { fetchThrough } from "./gateway-opcode.ts";
import {
  type OpcodeContext,
  type OpcodeOutcome,
  failRun,
  handled,
  recordUnsupported,
} from "./opcode-outcome.ts";
import { createQueuedOpcodes } from "./queued-opcodes.ts";
import { createResultOpcodes } from "./result-opcodes.ts";
import { failForStepLimit, maxSteps } from "./step-limits.ts";
import type { StepSettler } from "./step-settler.ts";
import type { WaitResolver } from "./wait-resolver.ts";
import type { WaitStore } from "./wait-store.ts";
import { createWaitingOpcodes } from "./waiting-opcodes.ts";

/** Carries out what an app's response asks for. */
export interface OpcodeHandler {
  handle(job: Job, response: Extract<CallResponse, { kind: "ops" }>): Promise<OpcodeOutcome>;
}

const plannedOps = new Set([
  "Gateway",
  "InvokeFunction",
  "Sleep",
  "StepPlanned",
  "WaitForEvent",
  "WaitForSignal",
]);

/** Creates an {@link OpcodeHandler}; `fetch` carries out `step.fetch`. */
export function createOpcodeHandler(deps: {
  queue: JobQueue;
  waits: WaitStore;
  waitResolver: WaitResolver;
  settler: StepSettler;
  finalizer: Finalizer;
  journal: Journal;
  now: () => number;
  /** The engine's time for a time that an app computed from the machine's clock. */
  fromMachine: (timestampMs: number) => number;
  nextId: () => string;
  publish: (event: EngineEvent) => void;
  fetch: typeof fetch;
}): OpcodeHandler {
  const { queue, settler, finalizer, journal, nextId } = deps;
  const results = createResultOpcodes(deps);
  const queued = createQueuedOpcodes(deps);
  const waiting = createWaitingOpcodes(deps);

  function handleOne(op: Opcode, context: OpcodeContext): OpcodeOutcome | Promise<OpcodeOutcome> {
    switch (op.op) {
      case "None":
        return handled;
      case "Step":
      case "StepRun":
        return results.completeStep(op, context);
      case "StepError":
        return results.retryStep(op, context);
      case "StepFailed":
        return results.failStep(op, context);
      case "StepPlanned":
        return queued.planStep(op, context);
      case "Sleep":
        return queued.sleep(op, context);
      case "WaitForEvent":
        return waiting.waitForEvent(op, context);
      case "WaitForSignal":
        return waiting.waitForSignal(op, context);
      case "InvokeFunction":
        return waiting.invoke(op, context);
      case "Gateway":
        return fetchThrough(op, context, deps);
      case "RunComplete":
        finalizer.finalize(context.run, { status: "Completed", output: op.data });
        return handled;
      case "DiscoveryRequest":
        settler.endPlanning(context.run);
        queue.enqueue({ id: op.id, kind: "discovery", run: context.run, fromStepId: op.id });
        return handled;
      case "DeferAdd":
      case "DeferAbort":
        // Nothing waits for a deferred function, so the run goes on without it.
        recordUnsupported(context.run, op, journal);
        return handled;
      case "AIGateway":
      case "SyncRunComplete":
        return failRun(
          "UnsupportedStepError",
          `The engine does not support the step ${op.op} (${op.displayName}).`,
        );
    }
  }

  /** Asks the app again after a response that names nothing to do. */
  function discoverAgain(run: Run): void {
    settler.endPlanning(run);
    const fromStepId = run.stack.at(-1);
    queue.enqueue({
      id: `redrive-${nextId()}`,
      kind: "discovery",
      run,
      ...(fromStepId === undefined ? {} : { fromStepId }),
    });
  }

  return {
    async handle(job, response) {
      const { run } = job;
      const { ops } = response;
      if (run.requestVersion === -1) run.requestVersion = response.requestVersion;
      if (ops.length > maxSteps) return failForStepLimit();
      if (ops.every((op) => op.op === "None" && op.id === "")) {
        discoverAgain(run);
        return handled;
      }
      const context: OpcodeContext = {
        job,
        run,
        batchKey: openBatch(job, ops) ?? job.batchKey,
        isFinal: response.isFinal,
        retryAtMs: response.retryAtMs,
      };
      // Waits come first, so that a step beside them may send what they wait for.
      const ordered = [
        ...ops.filter((op) => op.op === "WaitForEvent"),
        ...ops.filter((op) => op.op !== "WaitForEvent"),
      ];
      let result = handled;
      for (const op of ordered) {
        const outcome = await handleOne(op, context);
        if (isEnded(run)) return handled;
        if (outcome.kind === "fail") return outcome;
        if (outcome.kind === "retry") result = outcome;
      }
      return result;
    },
  };
}

/** Opens a parallel batch where a response names several steps; returns the batch's key. */
function openBatch(job: Job, ops: readonly Opcode[]): string | undefined {
  const { run } = job;
  const steps = ops.filter((op) => !lazyKinds.has(op.op));
  if (steps.length > 1 && !job.isPlanning) run.forceStepPlan = true;
  const isTracked = run.requestVersion >= 2 && ops.some((op) => plannedOps.has(op.op));
  if (steps.length <= 1 || !isTracked) return undefined;
  const ids = steps.map((op) => op.id);
  for (const id of ids) if (!run.memo.has(id)) run.pending.add(id);
  return ids.toSorted().join("+");
}
