import { redactValue } from "@evenkeel/core";

import { redactStart } from "../database/redaction.ts";
import { encodeStorable } from "../database/storable-json.ts";

/** The most that a run's output may take in the record, in bytes of UTF-8 JSON: it is for people, and nothing reads it back. */
const maxOutputBytes = 64 * 1024;

/** How much of an output that takes more is kept, in characters of its JSON. */
const startLength = 2_000;

/**
 * Returns the JSON text of what a run's function returned, redacted and bounded in bytes. Of one that takes more,
 * `{ truncated, bytes, start }` is kept. `null`: it has no JSON form.
 */
export function encodeOutput(output: unknown): string | null {
  const text = encodeStorable(output);
  if (text === null) return null;
  const bytes = Buffer.byteLength(text);
  // What is too long is not walked through: the host is at work.
  const kept = bytes <= maxOutputBytes ? encodeStorable(redactValue(output)) : null;
  if (kept !== null && Buffer.byteLength(kept) <= maxOutputBytes) return kept;
  return encodeStorable({ truncated: true, bytes, start: redactStart(text, startLength) });
}
