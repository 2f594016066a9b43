import { silentLogger } from "@evenkeel/core";
import type { Settlement } from "@evenkeel/ledger";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { enqueueCounts, openQueue, type Queue } from "../testing/queue.ts";
import { SettlementQueue } from "./settlement-queue.ts";

let queue: Queue;
beforeEach(async () => {
  queue = await openQueue();
});
afterEach(() => queue.close());

test("a finished job waits for others as long as it was told, and they are written in the order of their ends", async () => {
  await enqueueCounts(queue, 5);
  const timers: { readonly delayMs: number; readonly fire: () => void }[] = [];
  const batches: string[][] = [];
  const settled: string[] = [];
  const gate = Promise.withResolvers<undefined>();
  const settlements = new SettlementQueue({
    jobs: {
      settle: async (batch: readonly Settlement[]) => {
        batches.push(batch.map(({ id }) => id));
        if (batches.length === 1) await gate.promise;
        return queue.ledger.jobs.settle(batch);
      },
      standingOf: queue.ledger.jobs.standingOf,
    },
    settleDelayMs: 15,
    clock: {
      now: () => 0,
      setTimer: (fire, delayMs) => {
        timers.push({ delayMs, fire });
        return () => undefined;
      },
    },
    logger: silentLogger,
    onWritten: () => undefined,
  });
  const { jobs } = await queue.ledger.jobs.claim({
    lane: "stable",
    types: ["count"],
    limit: 5,
    leaseMs: 30_000,
    owner: "o",
  });
  const ended = jobs
    .toReversed()
    .map(({ id, fence }) => ({ id, fence, kind: "succeeded" as const }));
  const add = (settlement: Settlement): void =>
    settlements.add({ settlement, deadlineMs: 30_000, onSettled: (is) => settled.push(is) });
  ended.slice(0, 3).forEach(add);
  expect(batches).toEqual([]);
  expect(timers.map(({ delayMs }) => delayMs)).toEqual([15]);
  timers[0]?.fire();
  ended.slice(3).forEach(add);
  gate.resolve(undefined);
  await vi.waitFor(() => expect(settled).toHaveLength(5), { timeout: 60_000 });
  const ids = ended.map(({ id }) => id);
  // What ended during the write waited for that, and for no time of its own.
  expect(batches).toEqual([ids.slice(0, 3), ids.slice(3)]);
  expect(settled).toEqual(ended.map(() => "accepted"));
});
