import type { Opcode } from "../call/opcode.ts";
import { type Json, isObject, textOf } from "../json.ts";
import {
  type OpcodeContext,
  type OpcodeOutcome,
  handled,
  isRace,
  recordOpcode,
} from "./opcode-outcome.ts";
import type { StepSettler } from "./step-settler.ts";

/** Carries out `step.fetch`: the server makes the request, and the step settles with its response. */
export async function fetchThrough(
  op: Opcode,
  context: OpcodeContext,
  deps: { settler: StepSettler; fetch: typeof fetch },
): Promise<OpcodeOutcome> {
  recordOpcode(context.run, op, "planned");
  const settle = (value: Json, status: "completed" | "failed") =>
    deps.settler.settle(context.run, {
      stepId: op.id,
      value,
      status,
      isRace: isRace(op),
      batchKey: context.batchKey,
    });
  try {
    settle({ data: await request(op, deps.fetch) }, "completed");
    return handled;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const message = `Error making gateway request: ${reason}`;
    if (context.job.attempt + 1 < context.run.fn.maxAttempts) {
      return { kind: "retry", retryAtMs: undefined, message };
    }
    settle({ error: { name: "GatewayError", message } }, "failed");
    return handled;
  }
}

async function request(op: Opcode, send: typeof fetch): Promise<Json> {
  const url = textOf(op.opts["url"]) ?? "";
  const body = op.opts["body"];
  const headers = isObject(op.opts["headers"]) ? op.opts["headers"] : {};
  const response = await send(url, {
    method: textOf(op.opts["method"]) ?? "GET",
    headers: Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name, textOf(value) ?? ""]),
    ),
    ...(body === undefined || body === null ? {} : { body: textOf(body) ?? JSON.stringify(body) }),
  });
  return {
    url,
    headers: Object.fromEntries(response.headers),
    body: await response.text(),
    status_code: response.status,
  };
}
