/** Returns texts as the literal of a Postgres array, for a parameter that is cast: `:types::text::text[]`. */
export function textArray(texts: readonly string[]): string {
  return `{${texts.map((text) => `"${text.replaceAll(/["\\]/gu, String.raw`\$&`)}"`).join(",")}}`;
}
