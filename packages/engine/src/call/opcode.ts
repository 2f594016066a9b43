import { type Json, type JsonObject, isObject } from "../json.ts";

/** Every kind of step that the protocol knows. */
const kinds = [
  "None",
  "Step",
  "StepRun",
  "StepError",
  "StepPlanned",
  "Sleep",
  "WaitForEvent",
  "InvokeFunction",
  "AIGateway",
  "Gateway",
  "WaitForSignal",
  "RunComplete",
  "StepFailed",
  "SyncRunComplete",
  "DiscoveryRequest",
  "DeferAdd",
  "DeferAbort",
] as const;

/** What an opcode asks for or tells. */
export type OpcodeKind = (typeof kinds)[number];

/** One thing that the app's function wants next, or has done. */
export interface Opcode {
  readonly op: OpcodeKind;
  readonly id: string;
  readonly name: string;
  readonly displayName: string;
  readonly opts: JsonObject;
  readonly data: Json;
  readonly error: JsonObject | undefined;
}

/** A value that is no opcode, or one of a kind that the protocol does not know: a newer SDK's, for example. */
export class UnreadableOpcodeError extends Error {
  override readonly name = "UnreadableOpcodeError";
}

/** Opcodes that come beside others and are no step of their own: nothing waits for them. */
export const lazyKinds: ReadonlySet<OpcodeKind> = new Set(["DeferAdd", "DeferAbort"]);

/** Reads one opcode; throws an {@link UnreadableOpcodeError} for what is none. */
export function readOpcode(value: Json): Opcode {
  if (!isObject(value)) throw new UnreadableOpcodeError("expected JSON object or array");
  const id = typeof value["id"] === "string" ? value["id"] : "";
  const name = typeof value["name"] === "string" ? value["name"] : "";
  const displayName = typeof value["displayName"] === "string" ? value["displayName"] : name || id;
  return {
    op: readKind(value["op"]),
    id,
    name,
    displayName,
    opts: isObject(value["opts"]) ? value["opts"] : {},
    data: value["data"] ?? null,
    error: isObject(value["error"]) ? value["error"] : undefined,
  };
}

function readKind(value: Json | undefined): OpcodeKind {
  if (value === undefined) return "None";
  if (typeof value !== "string") {
    throw new UnreadableOpcodeError(`Opcode should be a string, got ${JSON.stringify(value)}`);
  }
  const kind = kinds.find((each) => each === value || each.toLowerCase() === value.toLowerCase());
  if (kind === undefined) {
    throw new UnreadableOpcodeError(`${value.slice(0, 100)} does not belong to Opcode values`);
  }
  return kind;
}
