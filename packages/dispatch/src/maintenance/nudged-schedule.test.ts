import { randomUUID } from "node:crypto";

import { createLedger, type Ledger } from "@evenkeel/ledger";
import { installMovableClock, type MovableClock } from "@evenkeel/test-postgres/movable-clock";
import { setup, type Setup } from "@evenkeel/test-postgres/testing";
import { afterEach, beforeEach, expect, test } from "vitest";

import { createDispatcher, type Dispatcher } from "../dispatcher/dispatcher.ts";
import type { OutgoingEvent } from "../dispatcher/prepared-dispatch.ts";
import { defineSchedule } from "../schedule/schedule.ts";
import { createWatchdog, type Watchdog } from "./watchdog.ts";

let t: Setup<Ledger>;
let clock: MovableClock;
let sent: OutgoingEvent[];
let dispatcher: Dispatcher;
let watchdog: Watchdog;
const start = Date.parse("2026-01-01T10:00:00Z");
const minute = defineSchedule({ id: "background-jobs", every: 60, catchUp: "latest" });

beforeEach(async () => {
  t = await setup(createLedger);
  clock = await installMovableClock(t.database, { start });
  sent = [];
  const base = {
    ledger: t.ledger,
    owner: "host-1",
    schedules: [minute],
    clock: { now: () => new Date(clock.now()) },
  };
  dispatcher = createDispatcher({
    ...base,
    send: async (events) => void sent.push(...events),
    config: { useInngest: { enabled: true, because: "test" }, windowSeconds: 60 },
    environment: "test",
  });
  watchdog = createWatchdog({ ...base, dispatcher });
});
afterEach(() => t.close());

/** What the maintenance function does with its event: a run is recorded, and the watchdog looks. */
async function maintain(): Promise<number> {
  const known = new Set<string>();
  let runs = 0;
  for (const { id, name } of sent.splice(0)) {
    if (name !== "background/maintenance.requested" || known.has(id)) continue;
    known.add(id);
    runs += 1;
    const run = { runId: randomUUID(), functionId: "app-background-maintenance" };
    await t.ledger.runs.begin({ ...run, eventName: name, owner: "worker-1", attempt: 0 });
    await watchdog.run();
  }
  return runs;
}

async function windowsOfTheSchedule(): Promise<Map<string, number>> {
  const { rows } = await t.database.pool.query<{ status: string; count: number }>(
    `SELECT status, count(*)::int FROM evenkeel.background_dispatch_window
     WHERE window_seconds = 60 GROUP BY status`,
  );
  return new Map(rows.map(({ status, count }) => [status, count]));
}

test("with cron down for an hour and traffic that nudges, missed windows are found and maintenance runs", async () => {
  await watchdog.declare();
  await clock.advance(60_000);
  await dispatcher.dispatch({ schedule: minute.id, source: "cron" });
  await maintain();
  let maintained = 0;
  for (let second = 10; second <= 3_600; second += 10) {
    await clock.moveTo(start + 60_000 + second * 1_000);
    await dispatcher.nudge({ schedule: minute.id, source: "nudge" });
    maintained += await maintain();
  }
  expect(maintained).toBeGreaterThanOrEqual(10);
  // One that a nudge brings in five minutes, and one that comes with the window it catches up with.
  expect(maintained).toBeLessThanOrEqual(26);
  const windows = await windowsOfTheSchedule();
  const found = [...windows.values()].reduce((sum, count) => sum + count, 0);
  // All of the hour but for what the last five minutes and the grace leave open.
  expect(found).toBeGreaterThanOrEqual(52);
  expect(windows.get("ENQUEUED")).toBeGreaterThanOrEqual(10);
}, 240_000);

test("nudges are no windows of their schedule: the newest missed one is caught up with", async () => {
  await watchdog.declare();
  await clock.advance(10 * 60_000);
  await dispatcher.nudge({ schedule: minute.id, source: "nudge" });
  sent = [];
  expect(await watchdog.run()).toMatchObject({ caughtUp: 1 });
  expect(sent[0]?.data.dispatchWindowSeconds).toBe(60);
});

test("a nudge brings maintenance when it is overdue, and no more than one in five minutes", async () => {
  const names = async (): Promise<string[]> => {
    await dispatcher.nudge({ schedule: minute.id, source: "nudge" });
    return sent
      .splice(0)
      .map(({ id, name }) => `${name} ${name.includes("maintenance") ? id : ""}`.trim());
  };
  const first = await names();
  expect(first).toHaveLength(2);
  await clock.advance(1_000);
  // No run of it is on record yet: Inngest drops the same id.
  expect((await names())[1]).toBe(first[1]);
  await t.ledger.runs.begin({
    runId: "run-1",
    functionId: "app-background-maintenance",
    eventName: "background/maintenance.requested",
    owner: "worker-1",
    attempt: 0,
  });
  await clock.advance(1_000);
  expect(await names()).toEqual(["background/process.requested"]);
  await clock.advance(301_000);
  expect((await names())[1]).not.toBe(first[1]);
});
