import { createHash } from "node:crypto";

import { parseTenantId, type JsonValue } from "@evenkeel/core";
import { isStorableJson } from "@evenkeel/ledger";

import { DispatchError } from "../dispatch-error.ts";
import type { DispatchWindow } from "./dispatch-window.ts";

/** What a dispatch key names. */
export interface DispatchTarget {
  readonly schedule: string;
  readonly window: DispatchWindow;
  /** Dispatches for one tenant alone; absent means the schedule's global scope. */
  readonly tenantId?: string;
  /** Parameters that make this dispatch another one than the same window without them. */
  readonly params?: Readonly<Record<string, JsonValue>>;
}

/** What an event id names. */
export interface EventIdentity {
  readonly name: string;
  readonly schemaVersion: number;
  /** Keeps environments that share an Inngest account apart: `production`, `staging`. */
  readonly environment: string;
  readonly dispatchKey: string;
}

const schedulePattern = /^[a-z0-9][a-z0-9._-]{0,99}$/u;

/**
 * Returns a schedule's id, checked: 1 to 100 of `a-z 0-9 . _ -`, the first a letter or digit.
 *
 * @throws DispatchError `invalid_schedule`.
 */
export function parseScheduleId(schedule: string): string {
  if (schedulePattern.test(schedule)) return schedule;
  throw new DispatchError(
    "invalid_schedule",
    "A schedule's id has 1 to 100 of the characters a-z 0-9 . _ - and starts with a letter or digit.",
    { length: schedule.length },
  );
}

/**
 * Returns the text of a scope: `global`, or `tenant:<id>` with `%`, `|` and control characters percent-encoded, so
 * that no id can look like another part of a key.
 *
 * @throws InputError `invalid_tenant`.
 */
export function scopeOf(tenantId: string | undefined): string {
  if (tenantId === undefined) return "global";
  // oxlint-disable-next-line no-control-regex -- control characters are what is encoded
  const text = parseTenantId(tenantId).replaceAll(/[%|\u0000-\u001F\u007F]/gu, (character) =>
    encodeURIComponent(character),
  );
  return `tenant:${text}`;
}

/**
 * Returns the canonical text that names one window of one schedule in one scope:
 * `<schedule>|v1|<scope>|<windowSeconds>|<windowStart ISO>`, and `|<params hash>` when there are parameters.
 *
 * @throws DispatchError `invalid_schedule` or `invalid_params`; InputError `invalid_tenant`.
 */
export function formatDispatchKey({ schedule, window, tenantId, params }: DispatchTarget): string {
  const parts = [
    parseScheduleId(schedule),
    "v1",
    scopeOf(tenantId),
    String(window.seconds),
    window.start.toISOString(),
  ];
  if (params !== undefined && Object.keys(params).length > 0) parts.push(hashParams(params));
  return parts.join("|");
}

/**
 * Returns the id under which an event of a window is sent, however often it is sent:
 * `<event name>:v<schema version>:<environment>:<first 32 hex digits of the key's SHA-256>`. It holds the
 * event's name because Inngest was measured to forget ids per name, and no tenant's text.
 */
export function formatEventId(identity: EventIdentity): string {
  const { name, schemaVersion, environment, dispatchKey } = identity;
  return `${name}:v${schemaVersion}:${environment}:${digest(dispatchKey)}`;
}

/** Returns the first 32 hex digits of the SHA-256 of the parameters' JSON with sorted keys. */
function hashParams(params: Readonly<Record<string, JsonValue>>): string {
  const text = canonicalJson(params);
  if (isStorableJson(text)) return digest(text);
  throw new DispatchError(
    "invalid_params",
    "Dispatch parameters must not hold NUL or half of a surrogate pair, which Postgres cannot store.",
  );
}

function digest(text: string): string {
  return createHash("sha256").update(text, "utf8").digest("hex").slice(0, 32);
}

function canonicalJson(value: JsonValue): string {
  if (value === null || typeof value !== "object") {
    const text = JSON.stringify(value) as string | undefined;
    if (text === undefined || (typeof value === "number" && !Number.isFinite(value))) {
      throw new DispatchError("invalid_params", "Dispatch parameters must be JSON values.");
    }
    return text;
  }
  if (isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`).join(",")}}`;
}

function isArray(value: JsonValue): value is readonly JsonValue[] {
  return Array.isArray(value);
}
