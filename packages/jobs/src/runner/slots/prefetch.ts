/** How much work a drain keeps at hand beyond what runs, in milliseconds of its own pace. */
export const stockMs = 200;

/** The most that the payloads at hand take beyond those that run, in bytes. */
const stockBytes = 64 * 1024 * 1024;

/** The weight of the newest value in an average. */
const smoothing = 0.1;

/**
 * How many jobs a drain should hold beyond those that run: as many as its slots pass in 200 ms, and as their payloads
 * take 64 MiB. So quick jobs come in large batches, and slow ones are left for other workers. Pure.
 *
 * @param averageMs How long a job takes on average; `undefined` while none has ended, and then 0 are held.
 * @param slots Those that jobs pass through: not those that are held up.
 * @param averageBytes How much a job's payload takes on average.
 */
export function stockTarget({
  averageMs,
  averageBytes,
  slots,
  batchSize,
}: {
  readonly averageMs: number | undefined;
  readonly averageBytes: number;
  readonly slots: number;
  readonly batchSize: number;
}): number {
  if (averageMs === undefined) return 0;
  const byPace = Math.floor((slots * stockMs) / Math.max(averageMs, 0.001));
  const byBytes = Math.floor(stockBytes / Math.max(averageBytes, 1));
  return Math.min(byPace, byBytes, batchSize);
}

/** The moving average of a value, after one more. Pure. */
export function movingAverage(average: number | undefined, value: number): number {
  if (average === undefined) return value;
  return average + (value - average) * smoothing;
}

/**
 * Returns about how many bytes a JSON value takes. It looks at each value once and at no character, so that a long text
 * costs as little as a number, and no deeper than 50 levels. Pure.
 */
export function estimateBytes(value: unknown, levels = 50): number {
  if (typeof value === "string") return value.length + 2;
  if (typeof value !== "object" || value === null || levels === 0) return 8;
  let bytes = 2;
  if (Array.isArray(value)) {
    for (const item of value) bytes += estimateBytes(item, levels - 1) + 1;
    return bytes;
  }
  for (const [key, item] of Object.entries(value)) {
    bytes += key.length + 4 + estimateBytes(item, levels - 1);
  }
  return bytes;
}
