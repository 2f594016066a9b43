import { setTimeout as sleep } from "node:timers/promises";

import { limitName, type Arena } from "./arena.ts";
import { nothing, type Queue, type Work } from "./contender.ts";
import { readCpu } from "./cpu.ts";

/** What each round gave, in order. */
export interface Rates {
  /** Jobs per second. */
  readonly enqueued: readonly number[];
  readonly drained: readonly number[];
  /** Empty for the limit, which only moves rows. */
  readonly drainedOfOneMs: readonly number[];
  /** CPU of this process per 1,000 no-op jobs, enqueued and drained, in seconds. */
  readonly hostSeconds: readonly number[];
  /** The same of Postgres; empty where there is no /proc. */
  readonly postgresSeconds: readonly number[];
}

type Figure = keyof Rates;

const oneMs: Work = async () => {
  await sleep(1);
};

/**
 * Enqueues and drains with each queue in turn, over several rounds after one of a tenth of the jobs, which warms up
 * code, connections and tables and is left out. Who goes first, and who after whom, changes from round to round.
 */
export async function measureRates(
  arena: Arena,
  queues: readonly Queue[],
  options: { readonly count: number; readonly slowCount: number; readonly rounds: number },
): Promise<Map<string, Rates>> {
  const rates = new Map(
    queues.map(({ name }) => [
      name,
      {
        enqueued: [] as number[],
        drained: [] as number[],
        drainedOfOneMs: [] as number[],
        hostSeconds: [] as number[],
        postgresSeconds: [] as number[],
      },
    ]),
  );
  for (let round = 0; round <= options.rounds; round += 1) {
    const isWarmUp = round === 0;
    const count = isWarmUp ? options.count / 10 : options.count;
    const slowCount = isWarmUp ? options.slowCount / 10 : options.slowCount;
    for (const queue of inTurn(queues, round)) {
      const note = (figure: Figure, value: number | undefined): void => {
        if (!isWarmUp && value !== undefined) rates.get(queue.name)?.[figure].push(value);
      };
      const before = await readCpu(arena.cluster.pid);
      note("enqueued", await rate(count, () => queue.enqueue(count)));
      note("drained", await rate(count, () => queue.drain(count, nothing)));
      const after = await readCpu(arena.cluster.pid);
      const perThousand = (seconds: number): number => (seconds * 1_000) / count;
      note("hostSeconds", perThousand(after.host - before.host));
      if (after.postgres !== undefined && before.postgres !== undefined) {
        note("postgresSeconds", perThousand(after.postgres - before.postgres));
      }
      if (queue.name === limitName) continue;
      await queue.enqueue(slowCount);
      note("drainedOfOneMs", await rate(slowCount, () => queue.drain(slowCount, oneMs)));
    }
  }
  return rates;
}

/** Begins with the next one each round, and goes on from there backwards in every second. */
export function inTurn<Item>(items: readonly Item[], round: number): readonly Item[] {
  const place = round % items.length;
  const first = items.slice(place, place + 1);
  const others = [...items.slice(place + 1), ...items.slice(0, place)];
  return [...first, ...(round % 2 === 0 ? others : others.toReversed())];
}

/** Jobs per second. */
export async function rate(count: number, act: () => Promise<void>): Promise<number> {
  const startedAtMs = performance.now();
  await act();
  return (count * 1_000) / (performance.now() - startedAtMs);
}
