// A backslash escape that jsonb refuses: NUL, or half of a surrogate pair.
const refusedEscape = /(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f][0-9a-f]{2})/u;

/** Returns whether Postgres can store this JSON text, as written by `JSON.stringify`, in a jsonb column. */
export function isStorableJson(text: string): boolean {
  return !text.includes("\\u") || !refusedEscape.test(text);
}
