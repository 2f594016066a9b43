import { benchType, openBenchQueue } from "../claims/bench-queue.ts";
import { openIdleTransaction } from "../claims/idle-transaction.ts";
import { percentile } from "../report.ts";
import { openContender, type Arena, type ContenderName } from "./arena.ts";
import { tenantOf } from "./bench-job.ts";
import { nothing } from "./contender.ts";
import { rate } from "./rates.ts";

/** Claim times with and without a transaction idle since before the queue was filled. */
export interface IdleClaims {
  readonly withoutP95: number;
  readonly withP95: number;
  /** The median of each fifth of the claims, in their order: how a claim's time grows with what was drained. */
  readonly withoutFifths: readonly number[];
  readonly withFifths: readonly number[];
}

const claimLimit = 100;

/**
 * Drains a queue of ours with the bare store, and then another with a transaction idle. Not in turn: a
 * transaction with an id holds up the removal of dead rows in every database of the cluster.
 */
export async function measureIdleClaims(arena: Arena, count: number): Promise<IdleClaims> {
  const without = await timeClaims(arena, count, false);
  const withIdle = await timeClaims(arena, count, true);
  return {
    withoutP95: percentile(without, 0.95),
    withP95: percentile(withIdle, 0.95),
    withoutFifths: fifths(without),
    withFifths: fifths(withIdle),
  };
}

async function timeClaims(arena: Arena, count: number, isIdle: boolean): Promise<number[]> {
  const queue = await openBenchQueue(
    arena.url(await arena.createDatabase(isIdle ? "idle" : "busy")),
  );
  const end = isIdle ? await openIdleTransaction(queue.databaseUrl) : undefined;
  await queue.enqueue({ tenantOf, count });
  const times: number[] = [];
  for (let left = count; left > 0; left -= claimLimit) {
    const startedAtMs = performance.now();
    const { jobs } = await queue.claim({ types: [benchType], limit: claimLimit });
    times.push(performance.now() - startedAtMs);
    await queue.start?.(jobs);
    await queue.succeed(jobs);
  }
  await end?.();
  await queue.close();
  return times;
}

function fifths(times: readonly number[]): number[] {
  const size = Math.ceil(times.length / 5);
  return [0, 1, 2, 3, 4].map((part) =>
    percentile(times.slice(part * size, (part + 1) * size), 0.5),
  );
}

/** A contender's drain rate beside a transaction that is idle, by its rate without one. */
export async function measureIdleDrain(
  arena: Arena,
  name: ContenderName,
  count: number,
): Promise<number> {
  const rates: number[] = [];
  for (const isIdle of [false, true]) {
    const contender = await openContender(arena, name);
    const url = arena.url(contender.database);
    const end = isIdle ? await openIdleTransaction(url) : undefined;
    await contender.enqueue(count);
    rates.push(await rate(count, () => contender.drain(count, nothing)));
    await end?.();
    await contender.close();
  }
  const [without = Number.NaN, withIdle = Number.NaN] = rates;
  return withIdle / without;
}
