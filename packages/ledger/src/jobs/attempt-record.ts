import { redactError } from "../database/redaction.ts";
import { encodeStorable } from "../database/storable-json.ts";
import type { AttemptError } from "./job.ts";

/** The most that one attempt's error may take in the record, in bytes of UTF-8 JSON. */
const maxErrorBytes: number = 4 * 1024;

/** The most that a result may take, in bytes of UTF-8 JSON: a result is a note, not a store. */
const maxResultBytes: number = 64 * 1024;

/**
 * Returns an error without credentials or what Postgres cannot store, cut to {@link maxErrorBytes}. The code and the
 * message matter most: the stack is cut first.
 */
export function recordAttemptError(error: AttemptError): AttemptError {
  const code = cut(redactError(error.code), 200);
  const message = cut(redactError(error.message), 2_000);
  const frame = Buffer.byteLength(JSON.stringify({ code, message, stack: "" }));
  const stack = error.stack === undefined ? "" : redactError(error.stack);
  // 200 bytes stay free for what the database adds: the attempt and the time.
  const room = maxErrorBytes - 200 - frame;
  const kept = room > 0 ? cut(stack, room) : "";
  return kept === "" ? { code, message } : { code, message, stack: kept };
}

/** Returns the longest start of a text whose JSON form takes at most so many bytes. */
function cut(text: string, maxBytes: number): string {
  if (text.length * 6 <= maxBytes) return text;
  let kept = text.slice(0, maxBytes);
  for (;;) {
    const bytes = Buffer.byteLength(JSON.stringify(kept)) - 2;
    if (bytes <= maxBytes) return kept;
    const length = Math.min(kept.length - 1, Math.floor((kept.length * maxBytes) / bytes));
    kept = kept.slice(0, length).toWellFormed();
  }
}

/**
 * Returns the JSON text of a handler's result, or `undefined` when there is none or it cannot be kept. A job that did
 * its work is not tried again because of what it returned. What Postgres cannot store (NUL, half of a surrogate pair)
 * becomes U+FFFD, as in an error.
 */
export function encodeResult(result: unknown): string | undefined {
  if (result === undefined || result === null) return undefined;
  const text = encodeStorable(result);
  return text === null || Buffer.byteLength(text) > maxResultBytes ? undefined : text;
}

/** What only the database knows of the error of an attempt of `job`, an expression: see `RecordedAttemptError`. */
export const attemptFields: string = `jsonb_build_object(
        'attempt', job.attempt,
        'at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
      )`;

/** Returns the errors of `job` with one more, an expression that may be null: the last 20 are kept. */
export function errorsWith(error: string): string {
  return `CASE WHEN ${error} IS NULL THEN job.errors
        WHEN jsonb_array_length(job.errors) >= 20 THEN (job.errors - 0) || ${error}
        ELSE job.errors || ${error} END`;
}
