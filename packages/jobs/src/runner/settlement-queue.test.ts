import { silentLogger } from "@evenkeel/core";
import type { Settlement } from "@evenkeel/ledger";
import { expect, test, vi } from "vitest";

import { createManualClock } from "../testing/manual-clock.ts";
import { enqueueCounts, setup } from "../testing/setup.ts";
import { SettlementQueue } from "./settlement-queue.ts";

test("a finished job waits for others as long as it was told, and they are written in the order of their ends", async () => {
  await using t = await setup();
  await enqueueCounts(t, 5);
  const timers: { readonly delayMs: number; readonly fire: () => void }[] = [];
  const batches: string[][] = [];
  const settled: string[] = [];
  const gate = Promise.withResolvers<undefined>();
  const settlements = new SettlementQueue({
    jobs: {
      settle: async (batch: readonly Settlement[]) => {
        batches.push(batch.map(({ id }) => id));
        if (batches.length === 1) await gate.promise;
        return t.ledger.jobs.settle(batch);
      },
      standingOf: (claims) => t.ledger.jobs.standingOf(claims),
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
  const { jobs } = await t.ledger.jobs.claim({
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

test("jobs that are locked for long are tried again together, however they came", async () => {
  const clock = createManualClock();
  const batches: number[] = [];
  let isLocked = true;
  const settled: string[] = [];
  const written = { count: 0 };
  const settlements = new SettlementQueue({
    jobs: {
      settle: async (batch) => {
        batches.push(batch.length);
        return new Set(isLocked ? [] : batch.map(({ id }) => id));
      },
      standingOf: async (claims) => new Map(claims.map(({ id }) => [id, "held" as const])),
    },
    settleDelayMs: 0,
    clock,
    logger: silentLogger,
    onWritten: () => {
      written.count += 1;
    },
  });
  for (let id = 1; id <= 20; id += 1) {
    const { count } = written;
    const settlement = { id: String(id), fence: "1", kind: "succeeded" as const };
    settlements.add({ settlement, deadlineMs: 60_000, onSettled: (is) => settled.push(is) });
    clock.advance(1);
    await vi.waitFor(() => expect(written.count).toBeGreaterThan(count));
  }
  batches.length = 0;
  clock.advance(500);
  await vi.waitFor(() => expect(batches).toEqual([20]));
  isLocked = false;
  expect(settlements.isIdle).toBe(false);
  await vi.waitFor(() => {
    clock.advance(500);
    expect(settled).toEqual(Array.from({ length: 20 }, () => "accepted"));
  });
  expect(batches).toEqual([20, 20]);
  await vi.waitFor(() => expect(settlements.isIdle).toBe(true));
});
