import type { EngineEvent } from "../event/event.ts";
import { type Json, type JsonObject, isObject, textOf } from "../json.ts";
import { parseDurationMs } from "../time/duration.ts";
import type { CallResponse, Opcode } from "../call/call-response.ts";
import type { Finalizer } from "../run/finalizer.ts";
import type { Job } from "../queue/job.ts";
import type { JobQueue } from "../queue/job-queue.ts";
import {
  type OpcodeOutcome,
  type OpcodePlace,
  failRun,
  handled,
  isRace,
} from "./opcode-outcome.ts";
import { type Run, isEnded, recordStep } from "../run/run.ts";
import type { StandardError } from "../run/run-error.ts";
import type { StepSettler } from "./step-settler.ts";
import { createWaitingOpcodes } from "./waiting-opcodes.ts";
import type { WaitResolver } from "./wait-resolver.ts";
import type { WaitStore } from "./wait-store.ts";

/** Carries out what an app's response asks for. */
export interface OpcodeHandler {
  handle(job: Job, response: Extract<CallResponse, { kind: "ops" }>): Promise<OpcodeOutcome>;
}

const maxSteps = 1_000;
const maxStateBytes = 32 * 1024 * 1024;
const plannedOps = new Set([
  "Gateway",
  "InvokeFunction",
  "Sleep",
  "StepPlanned",
  "WaitForEvent",
  "WaitForSignal",
]);
const lazyOps = new Set(["DeferAdd", "DeferAbort"]);

/** Creates an {@link OpcodeHandler}; `fetch` carries out `step.fetch`. */
export function createOpcodeHandler(deps: {
  queue: JobQueue;
  waits: WaitStore;
  waitResolver: WaitResolver;
  settler: StepSettler;
  finalizer: Finalizer;
  now: () => number;
  /** The engine's time for a time that an app computed from the machine's clock. */
  fromMachine: (timestampMs: number) => number;
  nextId: () => string;
  publish: (event: EngineEvent) => void;
  fetch: typeof fetch;
}): OpcodeHandler {
  const { queue, settler, finalizer, now, fromMachine, nextId } = deps;
  const waiting = createWaitingOpcodes(deps);

  function completeStep(op: Opcode, place: OpcodePlace): OpcodeOutcome {
    const value: Json = op.op === "Step" ? op.data : { data: op.data };
    const bytes = JSON.stringify(value).length;
    if (place.run.stateBytes + bytes > maxStateBytes) {
      return failRun(
        "InngestErrStateOverflowed",
        `The function run exceeded the state size limit of ${maxStateBytes} bytes.`,
        "state_overflowed",
      );
    }
    recordStep(place.run, { id: op.id, name: op.displayName, op: op.op }, "planned");
    settler.settle(place.run, {
      stepId: op.id,
      value,
      status: "completed",
      isRace: isRace(op) || place.job.isRace,
      batchKey: place.job.batchKey,
    });
    return handled;
  }

  function failStep(op: Opcode, place: OpcodePlace): OpcodeOutcome {
    recordStep(place.run, { id: op.id, name: op.displayName, op: op.op }, "planned");
    settler.settle(place.run, {
      stepId: op.id,
      value: { error: userError(op, place.isFinal) },
      status: "failed",
      isRace: isRace(op) || place.job.isRace,
      batchKey: undefined,
      suffix: "-failure",
    });
    return handled;
  }

  function tryStepAgain(op: Opcode, place: OpcodePlace): OpcodeOutcome {
    const isLast = place.job.attempt + 1 >= place.run.fn.maxAttempts;
    if (place.isFinal || isLast) return failStep(op, place);
    recordStep(place.run, { id: op.id, name: op.displayName, op: op.op }, "errored");
    const message = typeof op.error?.["message"] === "string" ? op.error["message"] : "step error";
    return { kind: "retry", retryAtMs: place.retryAtMs, message };
  }

  function planStep(op: Opcode, place: OpcodePlace): OpcodeOutcome {
    recordStep(place.run, { id: op.id, name: op.displayName, op: op.op }, "planned");
    queue.enqueue({
      id: `${op.id}-plan`,
      kind: "step",
      run: place.run,
      stepId: op.id,
      fromStepId: place.job.fromStepId,
      isRace: isRace(op),
      batchKey: place.batchKey,
    });
    return handled;
  }

  function sleep(op: Opcode, place: OpcodePlace): OpcodeOutcome {
    const text = typeof op.opts["duration"] === "string" ? op.opts["duration"] : op.name;
    const untilMs = sleepEndMs(text);
    if (untilMs === undefined)
      return failRun("Error", `invalid sleep duration ${JSON.stringify(text)}`);
    if (untilMs > now() + 366 * 86_400_000) {
      return failRun(
        "InngestErrTimeoutTooLong",
        `The sleep ${JSON.stringify(text)} ends more than one year in the future; sleeps may last at most one year.`,
      );
    }
    recordStep(place.run, { id: op.id, name: op.displayName, op: op.op }, "waiting");
    queue.enqueue({
      id: op.id,
      kind: "sleep",
      run: place.run,
      fromStepId: op.id,
      atMs: untilMs,
      isRace: isRace(op),
    });
    return handled;
  }

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

  async function fetchThrough(op: Opcode, place: OpcodePlace): Promise<OpcodeOutcome> {
    const url = textOf(op.opts["url"]) ?? "";
    recordStep(place.run, { id: op.id, name: op.displayName, op: op.op }, "planned");
    const settle = (value: Json, status: "completed" | "failed") =>
      settler.settle(place.run, {
        stepId: op.id,
        value,
        status,
        isRace: isRace(op),
        batchKey: place.batchKey,
      });
    try {
      const body = op.opts["body"];
      const headers = isObject(op.opts["headers"]) ? op.opts["headers"] : {};
      const response = await deps.fetch(url, {
        method: typeof op.opts["method"] === "string" ? op.opts["method"] : "GET",
        headers: Object.fromEntries(
          Object.entries(headers).map(([name, value]) => [name, textOf(value) ?? ""]),
        ),
        ...(body === undefined || body === null
          ? {}
          : { body: textOf(body) ?? JSON.stringify(body) }),
      });
      const data: Json = {
        url,
        headers: Object.fromEntries(response.headers),
        body: await response.text(),
        status_code: response.status,
      };
      settle({ data }, "completed");
      return handled;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      const message = `Error making gateway request: ${reason}`;
      if (place.job.attempt + 1 < place.run.fn.maxAttempts) {
        return { kind: "retry", retryAtMs: undefined, message };
      }
      settle({ error: { name: "GatewayError", message } }, "failed");
      return handled;
    }
  }

  function complete(op: Opcode, place: OpcodePlace): OpcodeOutcome {
    finalizer.finalize(place.run, { status: "Completed", output: op.data });
    return handled;
  }

  function handleOne(op: Opcode, place: OpcodePlace): OpcodeOutcome | Promise<OpcodeOutcome> {
    switch (op.op) {
      case "None":
        return handled;
      case "Step":
      case "StepRun":
        return completeStep(op, place);
      case "StepError":
        return tryStepAgain(op, place);
      case "StepFailed":
        return failStep(op, place);
      case "StepPlanned":
        return planStep(op, place);
      case "Sleep":
        return sleep(op, place);
      case "WaitForEvent":
        return waiting.waitForEvent(op, place);
      case "WaitForSignal":
        return waiting.waitForSignal(op, place);
      case "InvokeFunction":
        return waiting.invoke(op, place);
      case "Gateway":
        return fetchThrough(op, place);
      case "RunComplete":
        return complete(op, place);
      case "DiscoveryRequest":
        settler.endPlanning(place.run);
        queue.enqueue({ id: op.id, kind: "discovery", run: place.run, fromStepId: op.id });
        return handled;
      default:
        return failRun(
          "UnsupportedStepError",
          `The engine does not support the step ${op.op} (${op.displayName}).`,
        );
    }
  }

  return {
    async handle(job, response) {
      const { run } = job;
      if (run.requestVersion === -1) run.requestVersion = response.requestVersion;
      if (response.ops.length > maxSteps) return failRun(overflowName, overflowMessage);
      if (response.ops.every((op) => op.op === "None" && op.id === "")) {
        settler.endPlanning(run);
        const fromStepId = run.stack.at(-1);
        queue.enqueue({
          id: `redrive-${nextId()}`,
          kind: "discovery",
          run,
          ...(fromStepId === undefined ? {} : { fromStepId }),
        });
        return handled;
      }
      const place: OpcodePlace = {
        job,
        run,
        batchKey: openBatch(run, response.ops) ?? job.batchKey,
        isFinal: response.isFinal,
        retryAtMs: response.retryAtMs,
      };
      // Waits come first, so that a step beside them may send what they wait for.
      const ordered = [
        ...response.ops.filter((op) => op.op === "WaitForEvent"),
        ...response.ops.filter((op) => op.op !== "WaitForEvent"),
      ];
      let result = handled;
      for (const op of ordered) {
        const outcome = await handleOne(op, place);
        if (isEnded(run)) return handled;
        if (outcome.kind === "fail") return outcome;
        if (outcome.kind === "retry") result = outcome;
      }
      return result;
    },
  };
}

/** Opens a parallel batch where a response names several steps; returns the batch's key. */
function openBatch(run: Run, ops: readonly Opcode[]): string | undefined {
  const steps = ops.filter((op) => !lazyOps.has(op.op));
  if (steps.length > 1) run.forceStepPlan = true;
  const isTracked = run.requestVersion >= 2 && ops.some((op) => plannedOps.has(op.op));
  if (steps.length <= 1 || !isTracked) return undefined;
  const ids = steps.map((op) => op.id);
  for (const id of ids) if (!run.memo.has(id)) run.pending.add(id);
  return ids.toSorted().join("+");
}

const overflowName = "InngestErrFunctionOverflowed";
const overflowMessage = `The function run exceeded the step limit of ${maxSteps} steps.`;

/** The error of a run that has used up its steps; `undefined` while it has not. */
export function checkStepLimit(run: Run): StandardError | undefined {
  if (run.memo.size < maxSteps) return undefined;
  return { error: "function has too many steps", name: overflowName, message: overflowMessage };
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
