import { type EngineEvent, internalDataKey, internalEvents } from "../event/event.ts";
import { type Expression, compileExpression } from "../expression/expression.ts";
import { type JsonObject, isObject, textOf } from "../json.ts";
import { parseDeadlineMs } from "../time/duration.ts";
import type { Opcode } from "../call/call-response.ts";
import {
  type OpcodeOutcome,
  type OpcodePlace,
  failRun,
  handled,
  isRace,
} from "./opcode-outcome.ts";
import { recordStep } from "../run/run.ts";
import type { WaitResolver } from "./wait-resolver.ts";
import type { WaitStore } from "./wait-store.ts";

/** The opcodes that wait for something outside the run. */
export interface WaitingOpcodes {
  waitForEvent(op: Opcode, place: OpcodePlace): OpcodeOutcome;
  waitForSignal(op: Opcode, place: OpcodePlace): OpcodeOutcome;
  /** Starts another function and waits for its end. */
  invoke(op: Opcode, place: OpcodePlace): OpcodeOutcome;
}

/** How long a wait lasts that names no time. */
const yearMs = 365 * 86_400_000;

/** Creates {@link WaitingOpcodes}; `publish` receives the event that invokes a function. */
export function createWaitingOpcodes(deps: {
  waits: WaitStore;
  waitResolver: WaitResolver;
  now: () => number;
  nextId: () => string;
  publish: (event: EngineEvent) => void;
}): WaitingOpcodes {
  const { waits, waitResolver, now, nextId, publish } = deps;

  function expiryMs(op: Opcode): number | undefined {
    const timeout = op.opts["timeout"];
    if (typeof timeout !== "string" || timeout === "") return now() + yearMs;
    return parseDeadlineMs(timeout, now());
  }

  function waitForEvent(op: Opcode, place: OpcodePlace): OpcodeOutcome {
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
    if (waits.has(place.run, op.id)) return handled;
    recordStep(place.run, { id: op.id, name: op.displayName, op: op.op }, "waiting");
    waitResolver.start(
      {
        kind: "event",
        run: place.run,
        stepId: op.id,
        eventName,
        expiresAtMs,
        isRace: isRace(op),
        batchKey: place.batchKey,
        ...(condition === undefined ? {} : { condition }),
      },
      null,
    );
    return handled;
  }

  function waitForSignal(op: Opcode, place: OpcodePlace): OpcodeOutcome {
    const signal = op.opts["signal"];
    const expiresAtMs = expiryMs(op);
    if (typeof signal !== "string" || signal === "")
      return failRun("Error", "signal name is empty");
    if (expiresAtMs === undefined) return failRun("Error", "unable to parse signal expires");
    if (waits.has(place.run, op.id)) return handled;
    const holder = waits.bySignal(signal);
    if (holder !== undefined && op.opts["conflict"] !== "replace") {
      return failRun("Error", "Signal conflict; signal wait already exists for another run");
    }
    recordStep(place.run, { id: op.id, name: op.displayName, op: op.op }, "waiting");
    waitResolver.start(
      {
        kind: "signal",
        run: place.run,
        stepId: op.id,
        signal,
        expiresAtMs,
        isRace: isRace(op),
        batchKey: place.batchKey,
      },
      null,
    );
    return handled;
  }

  function invoke(op: Opcode, place: OpcodePlace): OpcodeOutcome {
    const expiresAtMs = expiryMs(op);
    if (expiresAtMs === undefined)
      return failRun("Error", "unable to parse invoke function expires");
    if (waits.has(place.run, op.id) || place.run.memo.has(op.id)) return handled;
    const correlationId = `${place.run.id}.${op.id}`;
    const payload = isObject(op.opts["payload"]) ? op.opts["payload"] : {};
    const data: JsonObject = {
      ...(isObject(payload["data"]) ? payload["data"] : {}),
      [internalDataKey]: {
        source_app_id: place.run.fn.appName,
        source_fn_id: place.run.fn.id,
        source_fn_v: 1,
        fn_id: textOf(op.opts["function_id"]) ?? "",
        correlation_id: correlationId,
        expire: expiresAtMs,
        gid: "",
        name: op.displayName,
      },
    };
    recordStep(place.run, { id: op.id, name: op.displayName, op: op.op }, "waiting");
    waitResolver.start(
      {
        kind: "invoke",
        run: place.run,
        stepId: op.id,
        correlationId,
        expiresAtMs,
        isRace: isRace(op),
        batchKey: place.batchKey,
      },
      {
        error: {
          error: "InngestInvokeTimeoutError",
          name: "InngestInvokeTimeoutError",
          message: "Timed out waiting for invoked function to complete",
        },
      },
    );
    const v = payload["v"];
    publish({
      id: nextId(),
      name: internalEvents.invoked,
      data,
      ts: now(),
      user: {},
      ...(typeof v === "string" ? { v } : {}),
    });
    return handled;
  }

  return { waitForEvent, waitForSignal, invoke };
}
