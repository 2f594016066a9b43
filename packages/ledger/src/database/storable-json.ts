// A backslash escape that jsonb refuses: NUL, or half of a surrogate pair.
const refusedEscape = /(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f][0-9a-f]{2})/u;

/** Returns whether Postgres can store this JSON text, as written by `JSON.stringify`, in a jsonb column. */
export function isStorableJson(text: string): boolean {
  return !text.includes("\\u") || !refusedEscape.test(text);
}

/** Returns a JSON text of `JSON.stringify` with U+FFFD in place of what {@link isStorableJson} refuses. */
function toStorableJson(text: string): string {
  if (isStorableJson(text)) return text;
  // Pair by pair, so that an escaped backslash before a "u" is none of an escape.
  return text.replaceAll(/\\(?:u[0-9a-f]{4}|.)/gu, (escape) =>
    /^\\u(?:0000|d[89a-f])/u.test(escape) ? "\\ufffd" : escape,
  );
}

/**
 * Returns the JSON text of a value as Postgres can store it: {@link toStorableJson} of it, `null` for a value that has
 * none, such as a cycle.
 */
export function encodeStorable(value: unknown): string | null {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    return null;
  }
  return text === undefined ? null : toStorableJson(text);
}

/** Returns a text with U+FFFD in place of what Postgres cannot store: NUL, or half of a surrogate pair. */
export function toStorableText(text: string): string {
  return text.replaceAll("\u0000", "\uFFFD").toWellFormed();
}
