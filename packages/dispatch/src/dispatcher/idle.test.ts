import { createLedger, type Ledger } from "@evenkeel/ledger";
import { installMovableClock, type MovableClock } from "@evenkeel/test-postgres/movable-clock";
import { setup, type Setup } from "@evenkeel/test-postgres/testing";
import { afterEach, beforeEach, expect, test } from "vitest";

import { createCronHandler } from "../http/cron-handler.ts";
import { createReceiptHandler } from "../http/receipt-handler.ts";
import { createWatchdog } from "../maintenance/watchdog.ts";
import { defineSchedule, type ScheduleOptions } from "../schedule/schedule.ts";
import { createDispatcher, type DispatcherOptions } from "./dispatcher.ts";
import type { OutgoingEvent } from "./prepared-dispatch.ts";

let t: Setup<Ledger>;
let clock: MovableClock;
let sent: OutgoingEvent[][];
let statements: number;
beforeEach(async () => {
  t = await setup(createLedger);
  clock = await installMovableClock(t.database);
  sent = [];
  statements = 0;
});
afterEach(() => t.close());

const minute = 60_000;
const now = { now: () => new Date(clock.now()) };

/** A host over the database, whose every statement is counted. */
function host(settings: Partial<ScheduleOptions> = {}, change: Partial<DispatcherOptions> = {}) {
  const usual = settings.cron === undefined ? { every: 60 } : {};
  const schedule = defineSchedule({ id: "s", ...usual, ...settings });
  const { windows } = t.ledger;
  const counted = Object.fromEntries(
    Object.entries(windows).map(([name, call]) => [
      name,
      (...args: never[]) => {
        statements += 1;
        return (call as (...given: never[]) => unknown)(...args);
      },
    ]),
  ) as unknown as Ledger["windows"];
  const dispatcher = createDispatcher({
    ledger: { windows: counted },
    send: async (events) => void sent.push([...events]),
    config: { useInngest: { enabled: true, because: "test" }, windowSeconds: 60 },
    environment: "test",
    owner: "host-1",
    clock: now,
    schedules: [schedule],
    ...change,
  });
  const cron = createCronHandler({
    dispatcher,
    cronSecrets: ["hunter2"],
    schedule: "s",
    clock: now,
  });
  const watchdog = createWatchdog({
    schedules: [schedule],
    ledger: t.ledger,
    dispatcher,
    owner: "host-1",
    clock: now,
  });
  const tick = async (headers: Record<string, string> = {}): Promise<[number, string, string]> => {
    const response = await cron(
      new Request("http://127.0.0.1/api/cron/background-jobs", {
        headers: { authorization: "Bearer hunter2", ...headers },
      }),
    );
    const { mode, dispatchKey } = (await response.json()) as { mode: string; dispatchKey: string };
    return [response.status, mode, dispatchKey];
  };
  return { schedule, dispatcher, watchdog, tick };
}

const names = (): string[][] =>
  sent.map((events) => events.map(({ name }) => name.replace(/^background\/(\w+).*$/u, "$1")));

async function statuses(): Promise<string[]> {
  const { rows } = await t.database.pool.query<{ status: string }>(
    `SELECT status FROM evenkeel.background_dispatch_window ORDER BY window_start`,
  );
  return rows.map(({ status }) => status);
}

async function enqueue(): Promise<void> {
  const job = { tenantId: "t", type: "j", version: 1, payloadText: "{}", maxAttempts: 1 };
  await t.ledger.jobs.insert(undefined, [job]);
}

test("an idle tick answers 200 from one statement, and sends and claims nothing", async () => {
  const { tick } = host();
  expect((await tick()).slice(0, 2)).toEqual([202, "dispatch-only"]);
  await clock.advance(minute);
  statements = 0;
  expect((await tick()).slice(0, 2)).toEqual([200, "idle"]);
  expect(statements).toBe(1);
  expect(await statuses()).toEqual(["ENQUEUED"]);
  // In the same window, once something is due.
  await enqueue();
  expect((await tick()).slice(0, 2)).toEqual([202, "dispatch-only"]);
  expect(names()).toEqual([["maintenance"], ["process"]]);
  expect((await tick()).slice(0, 2)).toEqual([200, "dispatch-duplicate-suppressed"]);
});

test("an hour of an idle product is upkeep alone, and of a busy one upkeep every five minutes", async () => {
  const { tick } = host();
  for (let n = 0; n < 60; n += 1) {
    await tick();
    await clock.advance(minute);
  }
  expect(names()).toEqual([["maintenance"], ["maintenance"]]);
  sent = [];
  await enqueue();
  for (let n = 0; n < 60; n += 1) {
    const [, , dispatchKey] = await tick();
    const eventName = "background/process.requested";
    const run = { runId: `r-${n}`, functionId: "f", eventName, dispatchKey };
    await t.ledger.runs.begin({ ...run, owner: "o", attempt: 0 });
    await t.ledger.runs.finish({ ...run, status: "SUCCEEDED" });
    await clock.advance(minute);
  }
  expect(sent).toHaveLength(60);
  const withUpkeep = names().filter((events) => events.includes("maintenance"));
  expect(withUpkeep.length).toBeGreaterThanOrEqual(10);
  expect(withUpkeep.length).toBeLessThanOrEqual(13);
});

test("the watchdog takes idle windows for fired, and those around them that nobody asked for for missed", async () => {
  const { tick, watchdog } = host({ catchUp: "latest" });
  await watchdog.declare();
  await tick();
  for (let n = 0; n < 10; n += 1) {
    await clock.advance(minute);
    // Two ticks never come.
    if (n !== 4 && n !== 5) await tick();
  }
  await clock.advance(2 * minute - 1_000);
  expect(await watchdog.run()).toMatchObject({ caughtUp: 0, missed: 2, unwatched: 0 });
  expect(await statuses()).toEqual(["ENQUEUED", "MISSED", "MISSED"]);
  expect(await watchdog.run()).toMatchObject({ caughtUp: 0, missed: 0, unwatched: 0 });
});

test("three idle days make no missed window, also of a schedule that is on record by them alone", async () => {
  const { tick, watchdog } = host({ every: 3_600 });
  await watchdog.declare();
  for (let hour = 0; hour < 72; hour += 1) {
    // Upkeep is another schedule's.
    await t.ledger.windows
      .claim({
        dispatchKey: `u|${hour}`,
        schedule: "u",
        scope: "global",
        lane: "stable",
        windowStart: new Date(clock.now()),
        windowSeconds: 3_600,
        owner: "o",
        correlationId: "c",
        leaseMs: 1_000,
        events: ["background/maintenance.requested"],
      })
      .then(async (claim) => {
        if (claim.outcome === "claimed") {
          await t.ledger.windows.markEnqueued(`u|${hour}`, claim.fence);
        }
      });
    expect((await tick()).slice(0, 2)).toEqual([200, "idle"]);
    await clock.advance(60 * minute);
  }
  await clock.advance(2 * minute);
  expect(await watchdog.run()).toMatchObject({ caughtUp: 0, missed: 0, unwatched: 0 });
  expect(sent).toEqual([]);
});

test("a change of a schedule's windows neither misses what was idle before nor takes for fired what was not", async () => {
  const before = host({ every: 3_600 });
  await before.watchdog.declare();
  await before.tick();
  await clock.advance(60 * minute);
  await t.database.pool.query(
    `UPDATE evenkeel.background_dispatch_window SET enqueued_at = enqueued_at + interval '50 minutes'`,
  );
  expect((await before.tick()).slice(0, 2)).toEqual([200, "idle"]);
  await clock.advance(10 * minute + 30_000);
  const after = host({ every: 60 });
  await after.watchdog.declare();
  // No tick comes: what was idle was an hour, and its rest is not.
  await clock.advance(5 * minute);
  expect(await after.watchdog.run()).toMatchObject({ caughtUp: 0, unwatched: 0 });
  const { rows } = await t.database.pool.query(
    `SELECT window_start AS start, window_seconds AS seconds FROM evenkeel.background_dispatch_window
     WHERE status = 'MISSED' ORDER BY window_start`,
  );
  const first = rows[0] as { start: Date } | undefined;
  expect(rows.map(({ seconds }: { seconds: number }) => seconds)).toEqual([60, 60, 60]);
  expect(first?.start.toISOString()).toBe("2026-01-01T01:12:00.000Z");
});

test("whoever asks for one tenant, with parameters or by itself is answered by a dispatch", async () => {
  const { dispatcher, tick } = host({ params: ["region"] });
  await tick();
  await clock.advance(minute);
  const request = { schedule: "s", source: "cron", onlyIfDue: true };
  expect(await dispatcher.dispatch(request)).toMatchObject({ mode: "idle", eventIds: [] });
  await clock.advance(minute);
  const withParams = { ...request, params: { region: "eu" } };
  expect(await dispatcher.dispatch(withParams)).toMatchObject({ mode: "dispatch-only" });
  const byHand = { schedule: "s", source: "manual" };
  expect(await dispatcher.dispatch(byHand)).toMatchObject({ mode: "dispatch-only" });
  expect(names().slice(1)).toEqual([["process"], ["process", "maintenance"]]);
});

test("where the ledger is unavailable a tick sends work and upkeep", async () => {
  const ledger = createLedger({ databaseUrl: "postgresql://nobody:pw@127.0.0.1:1/none" });
  const { tick } = host({}, { ledger });
  expect((await tick()).slice(0, 2)).toEqual([202, "dispatch-only"]);
  expect(names()).toEqual([["process", "maintenance"]]);
  await ledger.close();
});

test("a send that fails leaves no idle window behind, and upkeep to the tick after it", async () => {
  let failure: Error | undefined;
  const { tick } = host(
    {},
    {
      send: async (events) => {
        if (failure !== undefined) throw failure;
        sent.push([...events]);
      },
    },
  );
  await tick();
  await clock.advance(minute);
  await enqueue();
  failure = new Error("unreachable");
  expect((await tick()).slice(0, 2)).toEqual([503, "dispatch-failed"]);
  failure = undefined;
  await clock.advance(minute);
  expect((await tick()).slice(0, 2)).toEqual([202, "dispatch-only"]);
  expect(names().at(-1)).toEqual(["process", "maintenance"]);
});

test("whoever sent an idle tick can ask what became of it", async () => {
  const { tick } = host();
  await tick();
  await clock.advance(minute);
  const [, mode, dispatchKey] = await tick();
  expect(mode).toBe("idle");
  const receipts = createReceiptHandler({ ledger: t.ledger, receiptsSecrets: ["hunter2"] });
  const ask = async (key: string): Promise<Response> =>
    receipts(
      new Request(`http://127.0.0.1/api/cron/receipts/${encodeURIComponent(key)}`, {
        headers: { authorization: "Bearer hunter2" },
      }),
    );
  expect(await (await ask(dispatchKey)).json()).toEqual({
    progress: "idle",
    dispatchKey,
    runs: [],
  });
  expect((await ask(dispatchKey.replace(/T.*$/u, "T23:00:00.000Z"))).status).toBe(404);
});
