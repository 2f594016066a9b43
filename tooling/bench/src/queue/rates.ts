import { setTimeout as sleep } from "node:timers/promises";

import { percentile } from "../report.ts";
import { limitName } from "./arena.ts";
import type { Queue, Work } from "./contender.ts";

/** Jobs per second, the medians of all rounds. */
export interface Rates {
  readonly enqueued: number;
  readonly drained: number;
  /** `undefined` for the limit, which only moves rows. */
  readonly drainedOfOneMs: number | undefined;
}

/** A job that does nothing. */
export const nothing: Work = async () => {};

const oneMs: Work = async () => {
  await sleep(1);
};

/**
 * Enqueues and drains with each queue in turn, over several rounds after one that warms up code, connections
 * and tables.
 */
export async function measureRates(
  queues: readonly Queue[],
  options: { readonly count: number; readonly slowCount: number; readonly rounds: number },
): Promise<Map<string, Rates>> {
  const samples = new Map(
    queues.map(({ name }) => [
      name,
      { enqueued: [] as number[], drained: [] as number[], drainedOfOneMs: [] as number[] },
    ]),
  );
  for (let round = 0; round <= options.rounds; round += 1) {
    const isWarmUp = round === 0;
    const count = isWarmUp ? 1_000 : options.count;
    const slowCount = isWarmUp ? 200 : options.slowCount;
    for (const queue of queues) {
      const enqueued = await rate(count, () => queue.enqueue(count));
      const drained = await rate(count, () => queue.drain(count, nothing));
      const of = isWarmUp ? undefined : samples.get(queue.name);
      of?.enqueued.push(enqueued);
      of?.drained.push(drained);
      if (queue.name === limitName) continue;
      await queue.enqueue(slowCount);
      const drainedOfOneMs = await rate(slowCount, () => queue.drain(slowCount, oneMs));
      of?.drainedOfOneMs.push(drainedOfOneMs);
    }
  }
  const medians = new Map<string, Rates>();
  for (const [name, { enqueued, drained, drainedOfOneMs }] of samples) {
    medians.set(name, {
      enqueued: percentile(enqueued, 0.5),
      drained: percentile(drained, 0.5),
      drainedOfOneMs: drainedOfOneMs.length > 0 ? percentile(drainedOfOneMs, 0.5) : undefined,
    });
  }
  return medians;
}

/** Jobs per second. */
export async function rate(count: number, act: () => Promise<void>): Promise<number> {
  const startedAtMs = performance.now();
  await act();
  return (count * 1_000) / (performance.now() - startedAtMs);
}
