import fc from "fast-check";
import { expect, test } from "vitest";

import { insertGuard, insertNewest, insertRun, insertWindow } from "../testing/old-rows.ts";
import { setup } from "../testing/setup.ts";

test("a repeated tick within 24 hours and the lateness is suppressed, whatever was pruned", async () => {
  await using t = await setup();
  const { pool } = t.database;
  const hours = fc.integer({ min: 0, max: 120 });
  const tick = fc.record({
    endedHours: hours,
    touchedHours: hours,
    takenHours: hours,
    status: fc.constantFrom("ENQUEUED", "INLINE_EMERGENCY", "SKIPPED_OVERLAP"),
  });
  // A prune asks much, whatever it finds: several ticks share it.
  const ticks = fc.array(tick, { minLength: 8, maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(ticks, fc.integer({ min: 0, max: 72 }), async (cases, latenessHours) => {
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
      const keys: { readonly dispatchKey: string; readonly runId: string }[] = [];
      for (const { status, endedHours, touchedHours, takenHours } of cases) {
        const dispatchKey = await insertWindow(pool, status, age(touchedHours), {
          endedDays: age(endedHours),
          windowSeconds: 28 * 86_400,
        });
        await insertNewest(pool, `s-${dispatchKey}`);
        const runId = await insertRun(pool, "SUCCEEDED", age(takenHours), { dispatchKey });
        await insertGuard(pool, age(takenHours), { dispatchKey, runId });
        keys.push({ dispatchKey, runId });
      }
      const latenessMs = latenessHours * 3_600_000;
      for (let call = 0; call < 3; call += 1) await t.ledger.prune({ policy, latenessMs });

      for (const [index, { dispatchKey, runId }] of keys.entries()) {
        const { endedHours = 0, touchedHours = 0, takenHours = 0 } = cases[index] ?? {};
        const windowStays = Math.min(endedHours, touchedHours) < floorHours;
        const guardStays = windowStays || takenHours < floorHours;
        const functionId = "f";
        const other = { functionId, dispatchKey, continuation: 0, runId: `again-${runId}` };
        expect(await t.ledger.guards.take(other)).toEqual(
          guardStays ? { outcome: "held", runId } : { outcome: "taken" },
        );
        const { outcome } = await t.ledger.windows.claim({
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
      }
    }),
    { numRuns: 15 },
  );
});

test("a guard counts from when its present holder took it", async () => {
  await using t = await setup();
  const { pool } = t.database;
  const runId = await insertRun(pool, "FAILED", 80);
  const dispatchKey = await insertGuard(pool, 80, { runId });
  const guard = { functionId: "f", dispatchKey, continuation: 0 };
  expect(await t.ledger.guards.take({ ...guard, runId: "redrive" })).toEqual({ outcome: "taken" });
  expect(await t.ledger.prune()).toMatchObject({ deleted: 0 });
  expect(await t.ledger.guards.take({ ...guard, runId: "third" })).toEqual({
    outcome: "held",
    runId: "redrive",
  });
});

test("a schedule's newest window stays, so that no pruned one counts as missed", async () => {
  await using t = await setup();
  const schedule = "monthly";
  await t.ledger.schedules.declare([{ id: schedule, paused: false, definition: {} }]);
  await t.database.pool.query(
    `UPDATE evenkeel.background_schedule SET updated_at = now() - interval '1 year'`,
  );
  for (const days of [50, 70, 90]) {
    await insertWindow(t.database.pool, "ENQUEUED", days, { schedule });
  }
  expect(await t.ledger.prune()).toMatchObject({ deleted: 2 });
  const [progress] = await t.ledger.schedules.progress([schedule]);
  const sinceDays = (Date.now() - (progress?.since.getTime() ?? 0)) / 86_400_000;
  expect(Math.round(sinceDays)).toBe(50);
});
