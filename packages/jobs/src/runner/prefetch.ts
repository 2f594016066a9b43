/** How much work a drain keeps at hand beyond what runs, in milliseconds of its own pace. */
const stockMs = 200;

/** The weight of the newest duration in the average. */
const smoothing = 0.1;

/**
 * How many jobs a drain should hold, running and waiting: `concurrency`, and as many more as pass in
 * 200 ms. So quick jobs come in large batches, and slow ones are left for other workers. Pure.
 *
 * @param averageMs How long a job takes on average; `undefined` while none has ended.
 */
export function prefetchTarget({
  averageMs,
  concurrency,
  batchSize,
}: {
  readonly averageMs: number | undefined;
  readonly concurrency: number;
  readonly batchSize: number;
}): number {
  if (averageMs === undefined) return concurrency;
  const extra = Math.floor((concurrency * stockMs) / Math.max(averageMs, 0.001));
  return concurrency + Math.min(extra, batchSize);
}

/** The moving average of a job's duration, after one more. Pure. */
export function averageDuration(averageMs: number | undefined, durationMs: number): number {
  if (averageMs === undefined) return durationMs;
  return averageMs + (durationMs - averageMs) * smoothing;
}
