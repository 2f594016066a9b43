import { expect, test } from "vitest";

import { insertGuard, insertLetter, insertRun, insertWindow } from "./testing/old-rows.ts";
import { setup } from "./testing/setup.ts";

test("an empty ledger reports zeros", async () => {
  await using t = await setup();
  expect(await t.ledger.report()).toEqual({
    windows: {
      total: 0,
      byStatus: {},
      duplicates: 0,
      failures: 0,
      idle: 0,
      reclaims: 0,
      neverStarted: 0,
    },
    runs: { total: 0, byStatus: {}, duplicateForWindow: 0 },
    deadLetters: { open: 0, byReason: {} },
  });
});

test("windows, runs and open letters are counted by status, reason and anomaly", async () => {
  await using t = await setup();
  const { pool } = t.database;
  const started = await insertWindow(pool, "ENQUEUED", 1);
  await insertWindow(pool, "ENQUEUED", 1);
  await insertWindow(pool, "MISSED", 1);
  await pool.query(
    `UPDATE evenkeel.background_dispatch_window SET duplicate_count = 2, failure_count = 3, claim_count = 5
     WHERE dispatch_key = $1`,
    [started],
  );
  await insertRun(pool, "SUCCEEDED", 1, { dispatchKey: started });
  // It runs without the guard, so it does not do the window's work; the one after it does.
  await insertRun(pool, "RUNNING", 1, { dispatchKey: started });
  const holder = await insertRun(pool, "RUNNING", 1, { dispatchKey: started });
  await insertGuard(pool, 1, { dispatchKey: started, runId: holder });
  await insertRun(pool, "FAILED", 1);
  await insertLetter(pool, "OPEN", 1);
  await insertLetter(pool, "OPEN", 1);
  await insertLetter(pool, "DISCARDED", 1);
  expect(await t.ledger.report()).toEqual({
    windows: {
      total: 3,
      byStatus: { ENQUEUED: 2, MISSED: 1 },
      duplicates: 2,
      failures: 3,
      idle: 0,
      reclaims: 4,
      neverStarted: 1,
    },
    runs: {
      total: 4,
      byStatus: { SUCCEEDED: 1, RUNNING: 2, FAILED: 1 },
      duplicateForWindow: 1,
    },
    deadLetters: { open: 2, byReason: { exhausted: 2 } },
  });
});
