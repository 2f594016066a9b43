const unitMs: Readonly<Record<string, number>> = {
  w: 604_800_000,
  d: 86_400_000,
  h: 3_600_000,
  m: 60_000,
  s: 1_000,
  ms: 1,
  us: 0.001,
  µs: 0.001,
  ns: 0.000_001,
};
const part = /(\d+(?:\.\d+)?)(ms|us|µs|ns|w|d|h|m|s)/gy;

/**
 * Reads a duration as Inngest writes them (`"1d12h"`, `"90s"`, `"500ms"`, `"1w"`) in milliseconds;
 * `undefined` when the text is no duration. A number is taken as milliseconds.
 */
export function parseDurationMs(text: string | number): number | undefined {
  if (typeof text === "number") return Number.isFinite(text) ? text : undefined;
  const negative = text.startsWith("-");
  const body = negative ? text.slice(1) : text;
  if (body === "0") return 0;
  let total = 0;
  part.lastIndex = 0;
  while (part.lastIndex < body.length) {
    const match = part.exec(body);
    if (match === null) return undefined;
    total += Number(match[1]) * (unitMs[match[2] ?? ""] ?? 0);
  }
  if (body === "") return undefined;
  return negative ? -total : total;
}

/** Reads a duration counted from `nowMs`, or an RFC 3339 time, as a time in milliseconds. */
export function parseDeadlineMs(text: string, nowMs: number): number | undefined {
  const durationMs = parseDurationMs(text);
  if (durationMs !== undefined) return nowMs + durationMs;
  const at = /^\d{4}-\d{2}-\d{2}T/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(at) ? undefined : at;
}
