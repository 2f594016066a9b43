import type { Opcode } from "../call/opcode.ts";
import {
  type EngineEvent,
  type EventMeta,
  EventRefusedError,
  internalDataKey,
  internalEvents,
  readMeta,
} from "../event/event.ts";
import { type Expression, compileExpression } from "../expression/expression.ts";
import { type Json, type JsonObject, isObject, textOf } from "../json.ts";
import { parseDeadlineMs } from "../time/duration.ts";
import {
  type OpcodeContext,
  type OpcodeOutcome,
  failRun,
  handled,
  isRace,
  recordOpcode,
} from "./opcode-outcome.ts";
import type { WaitResolver } from "./wait-resolver.ts";
import type { Wait, WaitStore } from "./wait-store.ts";

/** The opcodes that wait for something outside the run. */
export interface WaitingOpcodes {
  waitForEvent(op: Opcode, context: OpcodeContext): OpcodeOutcome;
  waitForSignal(op: Opcode, context: OpcodeContext): OpcodeOutcome;
  /** Starts another function and waits for its end. */
  invoke(op: Opcode, context: OpcodeContext): OpcodeOutcome;
}

/** How long a wait lasts that names no time. */
const yearMs = 365 * 86_400_000;

const invokeTimeout: Json = {
  error: {
    error: "InngestInvokeTimeoutError",
    name: "InngestInvokeTimeoutError",
    message: "Timed out waiting for invoked function to complete",
  },
};

/** Creates {@link WaitingOpcodes}; `publish` receives the event that invokes a function. */
export function createWaitingOpcodes(deps: {
  waits: WaitStore;
  waitResolver: WaitResolver;
  now: () => number;
  nextId: () => string;
  publish: (event: EngineEvent) => void;
}): WaitingOpcodes {
  const { waits, now, nextId, publish } = deps;

  function expiryMs(op: Opcode): number | undefined {
    const timeout = op.opts["timeout"];
    if (typeof timeout !== "string" || timeout === "") return now() + yearMs;
    return parseDeadlineMs(timeout, now());
  }

  /** Starts the wait of a step that settles with `timeoutValue` when its time is over. */
  function startWait(
    op: Opcode,
    context: OpcodeContext,
    fields: Omit<Wait, "run" | "stepId" | "isRace" | "batchKey">,
    timeoutValue: Json,
  ): void {
    recordOpcode(context.run, op, "waiting");
    const { run, batchKey } = context;
    const wait: Wait = { run, stepId: op.id, isRace: isRace(op), batchKey, ...fields };
    deps.waitResolver.start(wait, timeoutValue);
  }

  return {
    waitForEvent(op, context) {
      const eventName = typeof op.opts["event"] === "string" ? op.opts["event"] : op.name;
      const expiresAtMs = expiryMs(op);
      if (expiresAtMs === undefined)
        return failRun("Error", "unable to parse wait for event expires");
      let condition: Expression | undefined;
      if (typeof op.opts["if"] === "string") {
        try {
          condition = compileExpression(op.opts["if"]);
        } catch (error) {
          return failRun(
            "InvalidExpression",
            "Wait for event If expression failed to compile",
            error instanceof Error ? error.message : undefined,
          );
        }
      }
      if (waits.has(context.run, op.id)) return handled;
      const met = condition === undefined ? {} : { condition };
      startWait(op, context, { kind: "event", eventName, expiresAtMs, ...met }, null);
      return handled;
    },
    waitForSignal(op, context) {
      const signal = op.opts["signal"];
      const expiresAtMs = expiryMs(op);
      if (typeof signal !== "string" || signal === "")
        return failRun("Error", "signal name is empty");
      if (expiresAtMs === undefined) return failRun("Error", "unable to parse signal expires");
      if (waits.has(context.run, op.id)) return handled;
      const holder = waits.bySignal(signal);
      if (holder !== undefined && op.opts["conflict"] !== "replace") {
        return failRun("Error", "Signal conflict; signal wait already exists for another run");
      }
      startWait(op, context, { kind: "signal", signal, expiresAtMs }, null);
      return handled;
    },
    invoke(op, context) {
      const { run } = context;
      const expiresAtMs = expiryMs(op);
      if (expiresAtMs === undefined)
        return failRun("Error", "unable to parse invoke function expires");
      if (waits.has(run, op.id) || run.memo.has(op.id)) return handled;
      const payload = isObject(op.opts["payload"]) ? op.opts["payload"] : {};
      const meta = readInvocationMeta(payload);
      if ("problem" in meta) return failRun("Error", meta.problem);
      const correlationId = `${run.id}.${op.id}`;
      startWait(op, context, { kind: "invoke", correlationId, expiresAtMs }, invokeTimeout);
      const v = payload["v"];
      publish({
        id: nextId(),
        name: internalEvents.invoked,
        data: invocationData(op, context, payload, { correlationId, expiresAtMs }),
        ts: now(),
        user: {},
        ...(typeof v === "string" ? { v } : {}),
        ...meta,
      });
      return handled;
    },
  };
}

/** The data of the event that invokes a function: the caller's, and what leads its end back to the wait. */
function invocationData(
  op: Opcode,
  { run }: OpcodeContext,
  payload: JsonObject,
  wait: { readonly correlationId: string; readonly expiresAtMs: number },
): JsonObject {
  return {
    ...(isObject(payload["data"]) ? payload["data"] : {}),
    [internalDataKey]: {
      source_app_id: run.fn.appName,
      source_fn_id: run.fn.id,
      source_fn_v: 1,
      fn_id: textOf(op.opts["function_id"]) ?? "",
      correlation_id: wait.correlationId,
      expire: wait.expiresAtMs,
      gid: "",
      name: op.displayName,
    },
  };
}

function readInvocationMeta(payload: JsonObject): { meta?: EventMeta } | { problem: string } {
  try {
    const meta = readMeta(payload["meta"]);
    return meta === undefined ? {} : { meta };
  } catch (error) {
    if (!(error instanceof EventRefusedError)) throw error;
    return { problem: `invalid step.invoke sessions: ${error.message}` };
  }
}
