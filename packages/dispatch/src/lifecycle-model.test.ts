import { createLedger } from "@evenkeel/ledger";
import { installMovableClock, type MovableClock } from "@evenkeel/test-postgres/movable-clock";
import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";

import { lifecycleSequences } from "./testing/lifecycle/commands.ts";
import { forgetChanges, watchChanges } from "./testing/lifecycle/observed-changes.ts";
import { settings } from "./testing/lifecycle/settings.ts";
import { clearState } from "./testing/lifecycle/state.ts";
import { World } from "./testing/lifecycle/world.ts";

/** How many sequences; `pnpm test:model` plays 2,000. */
const numRuns = Number(process.env["EVENKEEL_MODEL_RUNS"] ?? 200);

let database: TestDatabase;
let clock: MovableClock;
beforeAll(async () => {
  database = await createTestDatabase();
  // Each sequence opens a ledger of its own on this pool.
  database.pool.setMaxListeners(0);
  clock = await installMovableClock(database);
  await watchChanges(database);
});
afterAll(() => database.drop());

/** Everyone comes back, Inngest delivers what it has, and the reconciler and a last tick find the rest. */
async function settle(world: World): Promise<void> {
  await world.endTransaction(true);
  while (world.hasFrozenHost()) await world.comeBack();
  for (let round = 0; round < 3; round += 1) {
    await world.clock.advance(settings.moves["21 min"]);
    await world.reconcile();
    await world.relay();
    await world.tick(world.clock.now());
    for (const event of world.inngest.recent()) await world.work(event, 1);
  }
  await world.compare();
}

test("over any order of ticks, deaths, runs, repairs and redrives the ledger does what the model says", async () => {
  await fc.assert(
    fc.asyncProperty(lifecycleSequences, async ([opening, sequence]) => {
      await clearState(database.pool);
      await forgetChanges(database.pool);
      await clock.reset();
      // What a ledger remembers of a clock is of one sequence, as the next one sets it back.
      // No connections of its own: to open them would be most of a sequence's work.
      const ledger = createLedger({ pool: database.pool, reserveConnections: false });
      const world = new World(ledger, clock, database.pool);
      try {
        for (const command of opening) {
          if (command.check(world)) await command.run(world, world);
        }
        await fc.asyncModelRun(() => ({ model: world, real: world }), sequence);
        await settle(world);
      } finally {
        // It would hold up the next sequence.
        await world.endTransaction(false);
      }
      const { model, state } = world;
      // Every job that was committed has ended, once for each time that it was queued.
      expect(model.jobs.size).toBe(0);
      expect(state.ended).toEqual(state.queued);
      const succeeded = model.history.filter(({ outcome }) => outcome === "SUCCEEDED");
      expect(succeeded.every(({ job }) => world.effects.has(job))).toBe(true);
      expect([...world.effects].every((job) => state.queued.has(job))).toBe(true);
      const startsOf = (job: number): number => state.started.get(job) ?? 0;
      // No handler starts whose start is not on record. A job of one attempt starts at most once for each time that it
      // was queued, and none of them died without a start.
      for (const [job, times] of world.handled) expect(times).toBeLessThanOrEqual(startsOf(job));
      const singles = [...world.singles];
      expect(singles.filter((job) => startsOf(job) > (state.queued.get(job) ?? 0))).toEqual([]);
      const dead = new Set(
        model.history.flatMap(({ job, outcome }) => (outcome === "DEAD" ? [job] : [])),
      );
      expect(singles.filter((job) => dead.has(job) && startsOf(job) === 0)).toEqual([]);
      // What an enqueue met under its key started once more after that was committed.
      for (const [job, before] of world.met) expect(startsOf(job)).toBeGreaterThan(before);
      // Every window that was asked for was sent and worked for, or waits for an operator.
      for (const [key, window] of model.windows) {
        const isDone = window.status === "ENQUEUED" && (!window.sendsWork || model.hasLiveRun(key));
        const hasLetter = model.letters.some(({ sourceId }) => sourceId === key);
        const isOld = window.start <= clock.now() - settings.latenessMs;
        const waits = isOld && (hasLetter || window.repairs === 0);
        expect({ key, accounted: isDone || waits }).toEqual({ key, accounted: true });
      }
    }),
    { numRuns },
  );
}, 1_800_000);
