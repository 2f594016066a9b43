import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";

import { createLedger, type Ledger } from "../ledger.ts";
import { insertGuard, insertNewest, insertRun, insertWindow } from "../testing/old-rows.ts";

let database: TestDatabase;
let ledger: Ledger;
beforeEach(async () => {
  database = await createTestDatabase();
  ledger = createLedger({ pool: database.pool });
});
afterEach(async () => {
  await ledger.close();
  await database.drop();
});

test("a repeated tick within 24 hours and the lateness is suppressed, whatever was pruned", async () => {
  const hours = fc.integer({ min: 0, max: 120 });
  await fc.assert(
    fc.asyncProperty(
      hours,
      hours,
      hours,
      fc.integer({ min: 0, max: 72 }),
      fc.constantFrom("ENQUEUED", "INLINE_EMERGENCY", "SKIPPED_OVERLAP"),
      async (endedHours, touchedHours, takenHours, latenessHours, status) => {
        const floorHours = 24 + latenessHours;
        const days = floorHours / 24;
        const statuses = { ENQUEUED: days, INLINE_EMERGENCY: days, SKIPPED_OVERLAP: days };
        const policy = {
          windows: { ...statuses, MISSED: days },
          guards: { TAKEN: days },
          runs: { SUCCEEDED: days, FAILED: days, CANCELLED: days, SKIPPED_DUPLICATE: days },
          deadLetters: { REQUEUED: days, DISCARDED: days },
        };
        // Half an hour off, so that no age falls on the floor while the test runs.
        const age = (value: number): number => (value + 0.5) / 24;
        const dispatchKey = await insertWindow(database.pool, status, age(touchedHours), {
          endedDays: age(endedHours),
          windowSeconds: 28 * 86_400,
        });
        await insertNewest(database.pool, `s-${dispatchKey}`);
        const runId = await insertRun(database.pool, "SUCCEEDED", age(takenHours), { dispatchKey });
        await insertGuard(database.pool, age(takenHours), { dispatchKey, runId });
        const latenessMs = latenessHours * 3_600_000;
        for (let call = 0; call < 3; call += 1) await ledger.prune({ policy, latenessMs });

        const windowStays = Math.min(endedHours, touchedHours) < floorHours;
        const guardStays = windowStays || takenHours < floorHours;
        const functionId = "f";
        const other = { functionId, dispatchKey, continuation: 0, runId: `again-${runId}` };
        expect(await ledger.guards.take(other)).toEqual(
          guardStays ? { outcome: "held", runId } : { outcome: "taken" },
        );
        const { outcome } = await ledger.windows.claim({
          dispatchKey,
          schedule: `s-${dispatchKey}`,
          scope: "global",
          windowStart: new Date(),
          windowSeconds: 60,
          lane: "stable",
          owner: "late",
          correlationId: "c",
          leaseMs: 30_000,
        });
        expect(outcome).toBe(windowStays ? "duplicate" : "claimed");
      },
    ),
    { numRuns: 100 },
  );
});

test("a guard counts from when its present holder took it", async () => {
  const { pool } = database;
  const runId = await insertRun(pool, "FAILED", 80);
  const dispatchKey = await insertGuard(pool, 80, { runId });
  const guard = { functionId: "f", dispatchKey, continuation: 0 };
  expect(await ledger.guards.take({ ...guard, runId: "redrive" })).toEqual({ outcome: "taken" });
  expect(await ledger.prune()).toMatchObject({ deleted: 0 });
  expect(await ledger.guards.take({ ...guard, runId: "third" })).toEqual({
    outcome: "held",
    runId: "redrive",
  });
});

test("a schedule's newest window stays, so that no pruned one counts as missed", async () => {
  const schedule = "monthly";
  await ledger.schedules.declare([{ id: schedule, paused: false, definition: {} }]);
  await database.pool.query(
    `UPDATE evenkeel.background_schedule SET updated_at = now() - interval '1 year'`,
  );
  for (const days of [50, 70, 90]) {
    await insertWindow(database.pool, "ENQUEUED", days, { schedule });
  }
  expect(await ledger.prune()).toMatchObject({ deleted: 2 });
  const [progress] = await ledger.schedules.progress([schedule]);
  const sinceDays = (Date.now() - (progress?.since.getTime() ?? 0)) / 86_400_000;
  expect(Math.round(sinceDays)).toBe(50);
});
