import { silentLogger } from "@evenkeel/core";
import { expect, test } from "vitest";

import { insertGuard, insertHistory, insertNewest, insertWindow } from "../testing/old-rows.ts";
import { setup } from "../testing/setup.ts";
import { createPruner } from "./pruner.ts";
import type { Prunable } from "./pruning.ts";

test("a run deletes batch after batch up to its bound, and says what it deleted", async () => {
  await using t = await setup();
  const { database, ledger } = t;
  const logged: unknown[] = [];
  const logger = {
    ...silentLogger,
    info: (event: string, fields?: unknown) => void logged.push({ event, fields }),
  };
  const pruner = createPruner({ ledger, limit: 10, maxBatches: 3, logger });
  for (let n = 0; n < 45; n += 1) await insertHistory(database.pool, "SUCCEEDED", 31);
  const dispatchKey = await insertWindow(database.pool, "ENQUEUED", 31);
  await insertNewest(database.pool, `s-${dispatchKey}`);
  await insertGuard(database.pool, 31, { dispatchKey });

  expect(await pruner.run()).toEqual({ pruned: 32, moreToPrune: true });
  expect(await pruner.run()).toEqual({ pruned: 15, moreToPrune: false });
  expect(await pruner.run()).toEqual({ pruned: 0, moreToPrune: false });
  const first = { "jobHistory.SUCCEEDED": 30, "windows.ENQUEUED": 1, "guards.TAKEN": 1 };
  expect(logged).toEqual([
    { event: "ledger.pruned", fields: { pruned: 32, moreToPrune: true, rows: first } },
    {
      event: "ledger.pruned",
      fields: { pruned: 15, moreToPrune: false, rows: { "jobHistory.SUCCEEDED": 15 } },
    },
  ]);
});

test("a run by default keeps up with 40,000 jobs a second for an hour, spread over a day, and takes half the time", async () => {
  let nowMs = 0;
  let restedMs = 0;
  const clock = {
    now: () => nowMs,
    setTimer: (callback: () => void, delayMs: number) => {
      nowMs += delayMs;
      restedMs += delayMs;
      callback();
      return () => {};
    },
  };
  // As the statement takes on a machine with much else to do: 5,000 rows in 100 ms.
  const batchMs = 100;
  const ledger: Prunable = {
    prune: async ({ limit = 5_000 } = {}) => {
      nowMs += batchMs;
      return { dryRun: false, deleted: limit, more: true, rows: [] };
    },
  };
  const { pruned, moreToPrune } = await createPruner({ ledger, clock }).run();
  expect(moreToPrune).toBe(true);
  expect(nowMs).toBeLessThanOrEqual(20_000);
  expect(restedMs).toBeGreaterThanOrEqual(0.49 * nowMs);
  // A run every five minutes, where the default is one every minute.
  const runsPerDay = (24 * 60) / 5;
  expect(pruned * runsPerDay).toBeGreaterThanOrEqual(40_000 * 3_600);
});

test("a budget of 0 makes one batch", async () => {
  let batches = 0;
  const ledger: Prunable = {
    prune: async () => {
      batches += 1;
      return { dryRun: false, deleted: 1, more: true, rows: [] };
    },
  };
  expect(await createPruner({ ledger, budgetMs: 0 }).run()).toEqual({
    pruned: 1,
    moreToPrune: true,
  });
  expect(batches).toBe(1);
  expect(() => createPruner({ ledger, budgetMs: -1 })).toThrow(/budgetMs/u);
});

test("a wrong policy is refused when the host starts", () => {
  const ledger = { prune: () => Promise.reject(new Error("not to be called")) };
  expect(() => createPruner({ ledger, policy: { guards: { TAKEN: 1 } } })).toThrow(
    expect.objectContaining({ code: "invalid_retention" }),
  );
});
