import { type Json, type JsonObject, isObject } from "../json.ts";

/** Names and ids by which runs are grouped. */
export type Sessions = Readonly<Record<string, string>>;

/** Sessions that the server refuses; the message is what the event API responds with. */
export class SessionsRefusedError extends Error {
  override readonly name = "SessionsRefusedError";
}

const maxSessions = 5;
const maxNameBytes = 128;
const maxIdBytes = 512;

/**
 * Reads the sessions of an event's `meta`: its own (`sessions`), and below them those of the run that
 * sent it (`propagated_sessions`, which the SDK adds by default). The event's own win. A session that
 * it sets to null is cut, and `sessions: null` cuts all that it inherits.
 *
 * @throws SessionsRefusedError for what is no session, and for too many or too long ones.
 */
export function resolveSessions(meta: JsonObject): Sessions | undefined {
  const own = meta["sessions"];
  const inherited = readLayer(meta["propagated_sessions"], "a string or number");
  const layer = readLayer(own, "a string, number, or null");
  const isCut = (name: string) => own === null || layer.get(name) === null;
  const sessions = new Map<string, string>();
  for (const [name, id] of layer) if (id !== null) sessions.set(name, id);
  for (const name of [...inherited.keys()].toSorted(compareBytes)) {
    const id = inherited.get(name);
    if (id === null) throw refuseValue(name, "a string or number");
    if (id === undefined || isCut(name) || sessions.has(name)) continue;
    if (sessions.size < maxSessions) sessions.set(name, id);
  }
  if (sessions.size === 0) return undefined;
  checkSizes(sessions);
  return Object.fromEntries(sessions);
}

function readLayer(value: Json | undefined, expected: string): Map<string, string | null> {
  const layer = new Map<string, string | null>();
  if (value === undefined || value === null) return layer;
  if (!isObject(value)) {
    throw new SessionsRefusedError(
      `json: cannot unmarshal ${Array.isArray(value) ? "array" : typeof value} into Go value of type map[string]interface {}`,
    );
  }
  for (const [name, id] of Object.entries(value)) {
    if (id !== null && typeof id !== "string" && typeof id !== "number") {
      throw refuseValue(name, expected);
    }
    layer.set(name, id === null ? null : String(id));
  }
  return layer;
}

function refuseValue(name: string, expected: string): SessionsRefusedError {
  return new SessionsRefusedError(`event session ${JSON.stringify(name)} must be ${expected}`);
}

function checkSizes(sessions: ReadonlyMap<string, string>): void {
  if (sessions.size > maxSessions) {
    throw new SessionsRefusedError(`event sessions can include at most ${maxSessions} entries`);
  }
  for (const [name, id] of sessions) {
    const shown = JSON.stringify(name);
    if (name === "") throw new SessionsRefusedError("event session keys cannot be empty");
    if (Buffer.byteLength(name) > maxNameBytes) {
      throw new SessionsRefusedError(`event session key ${shown} exceeds ${maxNameBytes} bytes`);
    }
    if (id === "") throw new SessionsRefusedError(`event session ${shown} cannot have an empty ID`);
    if (Buffer.byteLength(id) > maxIdBytes) {
      throw new SessionsRefusedError(`event session ${shown} exceeds ${maxIdBytes} bytes`);
    }
  }
}

/** Compares texts by their UTF-8 bytes, as the server and the SDK do. */
function compareBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
