import { setTimeout as sleep } from "node:timers/promises";

import { percentile } from "../report.ts";
import { epochMs, type Contender } from "./contender.ts";

/** Milliseconds from when a job was to be enqueued until its handler began. */
export interface Pickup {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
}

const ratePerSecond = 300;
const warmUpSeconds = 1;
/** A job that takes longer than this to start ends the measurement. */
const patienceMs = 60_000;

/**
 * Enqueues single jobs at a steady rate, whether or not earlier ones are stored or have started. Latency counts
 * from the moment at which the job was to be enqueued, so a stall is not hidden by the jobs behind it.
 */
export async function measurePickup(contender: Contender, seconds: number): Promise<Pickup> {
  const total = ratePerSecond * (seconds + warmUpSeconds);
  const startedAtMs: number[] = [];
  let started = 0;
  const all = Promise.withResolvers<undefined>();
  const worker = await contender.startWorker((n, atMs) => {
    startedAtMs[n] ??= atMs;
    started += 1;
    if (started === total) all.resolve(undefined);
  });
  // Let the workers go to sleep first.
  await sleep(500);
  const beganAtMs = epochMs();
  const dueMs = (n: number): number => beganAtMs + (n * 1_000) / ratePerSecond;
  const stored: Promise<unknown>[] = [];
  while (stored.length < total) {
    while (stored.length < total && dueMs(stored.length) <= epochMs()) {
      stored.push(worker.enqueueOne(stored.length));
    }
    await sleep(1);
  }
  await Promise.all(stored);
  const isLate = await Promise.race([
    all.promise.then(() => false),
    sleep(patienceMs, true, { ref: false }),
  ]);
  await worker.stop();
  if (isLate) throw new Error(`${contender.name} started ${started} of ${total} jobs.`);
  const latencies = startedAtMs
    .map((atMs, n) => atMs - dueMs(n))
    .slice(ratePerSecond * warmUpSeconds);
  return {
    p50: percentile(latencies, 0.5),
    p95: percentile(latencies, 0.95),
    p99: percentile(latencies, 0.99),
  };
}
