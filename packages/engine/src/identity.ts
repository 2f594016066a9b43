import { createHash } from "node:crypto";

/** The account, environment and app owner of a development server, as the real one names them. */
export const accountId = "00000000-0000-4000-a000-000000000000";
/** The one environment of a development server. */
export const environmentId = "00000000-0000-4000-b000-000000000000";

/** A UUID that depends on its text alone: an app or function keeps its id through every sync. */
export function deterministicUuid(text: string): string {
  const bytes = createHash("sha1").update(text).digest().subarray(0, 16);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x50;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = bytes.toString("hex");
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20),
  ].join("-");
}
