import { type Json, type JsonObject, isObject } from "../json.ts";
import { type Sessions, SessionsRefusedError, resolveSessions } from "./sessions.ts";

/** An event as functions see it. */
export interface EngineEvent {
  /** The sender's id, or the engine's own where the sender gave none: what duplicates are known by. */
  readonly id: string;
  readonly name: string;
  /** Null where the sender gave none, as on the real server. */
  readonly data: JsonObject | null;
  /** When it happened, in milliseconds; a future time delays the functions it starts. */
  readonly ts: number;
  readonly v?: string;
  readonly user: JsonObject;
  readonly meta?: EventMeta;
}

/** What an event says beside its data: the sessions of the runs that it starts. */
export interface EventMeta {
  readonly sessions: Sessions;
}

/** A received event. What became of it stands in the decision log, under its internal id. */
export interface StoredEvent {
  /** The engine's id, a ULID: what the event API returns and the runs API asks for. */
  readonly internalId: string;
  /** 1 for the first event this engine received. */
  readonly ordinal: number;
  readonly receivedAtMs: number;
  readonly event: EngineEvent;
}

/** What a sender gives: the name, and whatever else it wants to. */
export interface EventInput {
  readonly name: string;
  readonly data?: Readonly<Record<string, unknown>> | null;
  readonly id?: string;
  readonly ts?: number;
  readonly v?: string;
  readonly user?: Readonly<Record<string, unknown>>;
  /** Sessions group runs; a run's are handed on to what it sends, and `null` cuts one. */
  readonly meta?: {
    readonly sessions?: Readonly<Record<string, string | number | null>> | null;
    readonly propagated_sessions?: Readonly<Record<string, string | number>>;
  };
}

/** Names that the server gives its own events. */
export const internalEvents = {
  failed: "inngest/function.failed",
  finished: "inngest/function.finished",
  cancelled: "inngest/function.cancelled",
  invoked: "inngest/function.invoked",
  timer: "inngest/scheduled.timer",
} as const;

/** The key under which the server keeps its own data in an event. */
export const internalDataKey = "_inngest";

/** An event that the event API refuses; the message is the response's `error`. */
export class EventRefusedError extends Error {
  override readonly name = "EventRefusedError";
}

const earliestMs = Date.UTC(1980, 0, 1);
const latestMs = Date.UTC(2100, 0, 1);
const fieldTypes = {
  id: "string",
  name: "string",
  v: "string",
  ts: "int64",
  data: "map[string]interface {}",
  user: "map[string]interface {}",
  meta: "event.EventMeta",
} as const;

function jsonKind(value: Json): string {
  if (Array.isArray(value)) return "array";
  if (typeof value === "boolean") return "bool";
  return typeof value;
}

function checkFieldTypes(raw: JsonObject): void {
  for (const [field, type] of Object.entries(fieldTypes)) {
    const value = raw[field];
    if (value === undefined || value === null) continue;
    const isFitting =
      type === "string"
        ? typeof value === "string"
        : type === "int64"
          ? Number.isInteger(value)
          : isObject(value);
    if (isFitting) continue;
    const kind = typeof value === "number" ? `number ${value}` : jsonKind(value);
    throw new EventRefusedError(
      `json: cannot unmarshal ${kind} into Go struct field raw.${field} of type ${type}`,
    );
  }
}

/**
 * Checks and completes a received event as the real server does. Data under `_inngest` is dropped.
 *
 * @throws EventRefusedError when the event API rejects it with a 400.
 */
export function normalizeEvent(raw: Json, internalId: string, nowMs: number): EngineEvent {
  if (raw !== null && !isObject(raw)) {
    throw new EventRefusedError(
      `json: cannot unmarshal ${jsonKind(raw)} into Go value of type event.raw`,
    );
  }
  const fields = raw ?? {};
  checkFieldTypes(fields);
  const name = typeof fields["name"] === "string" ? fields["name"] : "";
  if (name.toLowerCase().startsWith("inngest/")) {
    throw new EventRefusedError(`event name is reserved for internal use: ${name}`);
  }
  if (name === "") throw new EventRefusedError("event name is empty");
  const ts = Number(fields["ts"] ?? 0);
  if (ts !== 0 && ts < earliestMs) throw new EventRefusedError("timestamp is before Jan 1, 1980");
  if (ts > latestMs) throw new EventRefusedError("timestamp is after Jan 1, 2100");
  const { [internalDataKey]: _internal, ...data } = objectOr(fields["data"]);
  const hasData = isObject(fields["data"]);
  const v = fields["v"];
  const id = fields["id"];
  const meta = readMeta(fields["meta"]);
  return {
    id: typeof id === "string" && id !== "" ? id : internalId,
    name,
    data: hasData ? data : null,
    ts: ts === 0 ? nowMs : ts,
    user: objectOr(fields["user"]),
    ...(typeof v === "string" && v !== "" ? { v } : {}),
    ...(meta === undefined ? {} : { meta }),
  };
}

/**
 * Reads an event's `meta`, with the sessions that it inherits folded into its own.
 *
 * @throws EventRefusedError for sessions that the server rejects.
 */
export function readMeta(value: Json | undefined): EventMeta | undefined {
  try {
    const sessions = resolveSessions(objectOr(value));
    return sessions === undefined ? undefined : { sessions };
  } catch (error) {
    if (!(error instanceof SessionsRefusedError)) throw error;
    throw new EventRefusedError(error.message);
  }
}

function objectOr(value: Json | undefined): JsonObject {
  return isObject(value) ? value : {};
}

/** What the server keeps for itself in an event's data. */
export function internalDataOf(event: EngineEvent): JsonObject {
  return objectOr(event.data?.[internalDataKey]);
}

/** Returns an event as expressions and other events see it. */
export function eventMap(event: EngineEvent): JsonObject {
  return {
    id: event.id,
    name: event.name,
    data: event.data,
    user: event.user,
    ts: event.ts,
    ...(event.v === undefined ? {} : { v: event.v }),
    ...(event.meta === undefined ? {} : { meta: { sessions: { ...event.meta.sessions } } }),
  };
}

/** Every trigger that an event name meets: itself and the wildcards that follow a `/` or a `.`. */
export function matchingPatterns(eventName: string): string[] {
  const patterns = [eventName];
  for (const separator of ["/", "."]) {
    const parts = eventName.split(separator);
    for (let length = 1; length < parts.length; length += 1) {
      patterns.push(`${parts.slice(0, length).join(separator)}${separator}*`);
    }
  }
  return patterns;
}
