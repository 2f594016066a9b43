import type { Random } from "../time/random.ts";

/** Seconds between tries; the last holds for every later one. */
const tableSeconds = [15, 30, 60, 120, 300, 600, 1_200, 2_400, 3_600, 7_200];
const jitterMs = 30_000;

/** How long to wait after the given zero-based attempt: the server's table and up to 30 s of chance. */
export function retryDelayMs(attempt: number, random: Random): number {
  const seconds = tableSeconds[Math.min(attempt, tableSeconds.length - 1)] ?? 7_200;
  return seconds * 1_000 + Math.floor(random() * jitterMs);
}
