import type { Random } from "../time/random.ts";

/** Seconds between tries; the last holds for every later one. */
const tableSeconds = [15, 30, 60, 120, 300, 600, 1_200, 2_400, 3_600, 7_200];
const jitterMs = 30_000;

/** How long to wait after a zero-based attempt before the next. */
export type Backoff = (attempt: number) => number;

/** Creates a {@link Backoff}: `retryMs` each time, or the server's table where it is not given. */
export function createBackoff(options: {
  readonly retryMs: number | undefined;
  readonly random: Random;
}): Backoff {
  const { retryMs, random } = options;
  return retryMs === undefined ? (attempt) => retryDelayMs(attempt, random) : () => retryMs;
}

/** How long to wait after the given zero-based attempt: the server's table and up to 30 s of chance. */
function retryDelayMs(attempt: number, random: Random): number {
  const seconds = tableSeconds[Math.min(attempt, tableSeconds.length - 1)] ?? 7_200;
  return seconds * 1_000 + Math.floor(random() * jitterMs);
}
