import { setTimeout as sleep } from "node:timers/promises";

import { startPostgres } from "@evenkeel/postgres";
import { Pool } from "pg";

import { evenkeel, graphileWorker, pgBoss, type Contender, type Work } from "./queue/contenders.ts";
import { atLeast, percentile, round, type BenchReport } from "./report.ts";

interface Rates {
  readonly enqueued: number[];
  readonly drained: number[];
  readonly drainedOfOneMs: number[];
}

/**
 * Measures enqueueing and draining against graphile-worker and pg-boss: the same jobs, one durable Postgres, each
 * in a database of its own, one after another in turn over several rounds; the median round counts.
 */
export async function benchQueue({ quick }: { readonly quick: boolean }): Promise<BenchReport> {
  const cluster = await startPostgres({ durable: true });
  const count = quick ? 5_000 : 50_000;
  const slowCount = quick ? 1_000 : 10_000;
  const rounds = quick ? 1 : 3;
  try {
    const admin = new Pool({ connectionString: cluster.url() });
    const open = async (
      name: string,
      create: (url: string) => Promise<Contender>,
    ): Promise<Contender> => {
      await admin.query(`CREATE DATABASE "${name}"`);
      return create(cluster.url(name));
    };
    const contenders = [
      await open("ours", evenkeel),
      await open("graphile", (url) => graphileWorker(url, false)),
      await open("batched", (url) => graphileWorker(url, true)),
      await open("boss", pgBoss),
    ];
    const measured = new Map<string, Rates>();
    for (const { name } of contenders) {
      measured.set(name, { enqueued: [], drained: [], drainedOfOneMs: [] });
    }
    // The first round warms up: code, connections, tables.
    for (let round = 0; round <= rounds; round += 1) {
      for (const contender of contenders) {
        const n = round === 0 ? 1_000 : count;
        const enqueued = await rate(n, () => contender.enqueue(n));
        const drained = await rate(n, () => contender.drain(n, nothing));
        const m = round === 0 ? 200 : slowCount;
        await contender.enqueue(m);
        const drainedOfOneMs = await rate(m, () => contender.drain(m, oneMs));
        if (round === 0) continue;
        const rates = measured.get(contender.name);
        rates?.enqueued.push(enqueued);
        rates?.drained.push(drained);
        rates?.drainedOfOneMs.push(drainedOfOneMs);
      }
    }
    for (const contender of contenders) await contender.close();
    await admin.end();

    const median = (name: string, what: keyof Rates): number =>
      percentile(measured.get(name)?.[what] ?? [], 0.5);
    const by = (peer: string, what: keyof Rates): number =>
      round(median("evenkeel", what) / median(peer, what));
    return {
      bars: [
        atLeast(
          "drained/s by graphile-worker's, batched",
          1,
          by("graphile-worker, batched", "drained"),
        ),
        atLeast("drained/s by pg-boss's", 1.5, by("pg-boss", "drained")),
        atLeast("enqueued/s by graphile-worker's", 1, by("graphile-worker", "enqueued")),
        atLeast("enqueued/s by pg-boss's", 1, by("pg-boss", "enqueued")),
      ],
      rows: [...measured.keys()].flatMap((name) => [
        { name: `${name}: enqueued/s`, value: Math.round(median(name, "enqueued")) },
        { name: `${name}: drained/s, no-op`, value: Math.round(median(name, "drained")) },
        { name: `${name}: drained/s, of 1 ms`, value: Math.round(median(name, "drainedOfOneMs")) },
      ]),
    };
  } finally {
    await cluster.stop();
  }
}

const nothing: Work = async () => {};
const oneMs: Work = async () => {
  await sleep(1);
};

/** Jobs per second. */
async function rate(count: number, act: () => Promise<void>): Promise<number> {
  const startedAt = performance.now();
  await act();
  return (count * 1_000) / (performance.now() - startedAt);
}
