import { silentLogger } from "@evenkeel/core";
import { createLedger, type Ledger } from "@evenkeel/ledger";
import { setup, type Setup } from "@evenkeel/test-postgres/testing";
import { afterEach, beforeEach, expect, test } from "vitest";

import { createDispatcher, type Dispatcher } from "../dispatcher/dispatcher.ts";
import { createReceiptHandler } from "../http/receipt-handler.ts";
import { defineSchedule, type Schedule, type ScheduleOptions } from "../schedule/schedule.ts";
import { createWatchdog, type Watchdog } from "./watchdog.ts";

let t: Setup<Ledger>;
beforeEach(async () => {
  t = await setup(createLedger);
});
afterEach(() => t.close());

const minute = 60_000;
const day = 24 * 60 * minute;

/** A host whose clock the test moves. It starts at a whole minute, ten minutes after "now" in the database. */
function host(settings: Partial<ScheduleOptions>): {
  readonly schedule: Schedule;
  readonly dispatcher: Dispatcher;
  readonly watchdog: Watchdog;
  readonly clock: { now(): Date };
  readonly start: Date;
  readonly moveTo: (offsetMs: number) => void;
} {
  const usual = settings.cron === undefined ? { every: 60 } : {};
  const schedule = defineSchedule({ id: "s", ...usual, ...settings });
  const start = new Date(Math.ceil(Date.now() / minute) * minute + 10 * minute);
  let now = start;
  const clock = { now: () => now };
  const dispatcher = createDispatcher({
    ledger: t.ledger,
    send: () => Promise.resolve(),
    config: {
      useInngest: { enabled: true, because: "test" },
      windowSeconds: 60,
    },
    environment: "test",
    owner: "host-1",
    clock,
    schedules: [schedule],
  });
  const watchdog = createWatchdog({
    schedules: [schedule],
    ledger: t.ledger,
    dispatcher,
    owner: "host-1",
    clock,
  });
  return {
    schedule,
    dispatcher,
    watchdog: {
      ...watchdog,
      declare: async () => {
        await watchdog.declare();
        // The database keeps its own time; the first declaration was at the host's.
        await t.database.pool.query(
          `UPDATE "evenkeel"."background_schedule" SET "updated_at" = $1 WHERE "updated_at" < $1`,
          [start],
        );
      },
    },
    clock,
    start,
    moveTo: (offsetMs) => {
      now = new Date(start.getTime() + offsetMs);
    },
  };
}

async function setDeclared(id: string, at: Date): Promise<void> {
  await t.database.pool.query(
    `UPDATE evenkeel.background_schedule SET updated_at = $2 WHERE id = $1`,
    [id, at],
  );
}

async function statuses(): Promise<string[]> {
  const { rows } = await t.database.pool.query<{ status: string }>(
    `SELECT "status" FROM "evenkeel"."background_dispatch_window" ORDER BY "window_start"`,
  );
  return rows.map(({ status }) => status);
}

test.each([
  [
    "none",
    ["ENQUEUED", "MISSED", "MISSED", "MISSED"],
    { caughtUp: 0, missed: 3, waiting: 0, unwatched: 0 },
  ],
  [
    "latest",
    ["ENQUEUED", "MISSED", "MISSED", "ENQUEUED"],
    { caughtUp: 1, missed: 2, waiting: 0, unwatched: 0 },
  ],
  [
    { max: 2 },
    ["ENQUEUED", "MISSED", "ENQUEUED", "ENQUEUED"],
    { caughtUp: 2, missed: 1, waiting: 0, unwatched: 0 },
  ],
] as const)("a cron service that was down, catch-up %j", async (catchUp, expected, report) => {
  const { dispatcher, watchdog, moveTo } = host({ catchUp });
  await watchdog.declare();
  await dispatcher.dispatch({ schedule: "s", source: "cron" });
  expect(await watchdog.run()).toEqual({ caughtUp: 0, missed: 0, waiting: 0, unwatched: 0 });
  moveTo(5 * minute + 1_000);
  expect(await watchdog.run()).toEqual(report);
  expect(await statuses()).toEqual(expected);
  expect(await watchdog.run()).toEqual({ caughtUp: 0, missed: 0, waiting: 0, unwatched: 0 });
});

test.each([
  [
    "none",
    ["ENQUEUED", "MISSED", "ENQUEUED"],
    { caughtUp: 0, missed: 1, waiting: 0, unwatched: 0 },
  ],
  // The work of the gap was done by the window after it.
  [
    "latest",
    ["ENQUEUED", "MISSED", "ENQUEUED"],
    { caughtUp: 0, missed: 1, waiting: 0, unwatched: 0 },
  ],
  [
    { max: 2 },
    ["ENQUEUED", "ENQUEUED", "ENQUEUED"],
    { caughtUp: 1, missed: 0, waiting: 0, unwatched: 0 },
  ],
] as const)(
  "one tick that never came, between two that did, catch-up %j",
  async (catchUp, expected, report) => {
    const { dispatcher, watchdog, moveTo } = host({ catchUp });
    await watchdog.declare();
    await dispatcher.dispatch({ schedule: "s", source: "cron" });
    moveTo(2 * minute);
    await dispatcher.dispatch({ schedule: "s", source: "cron" });
    moveTo(4 * minute - 1_000);
    expect(await watchdog.run()).toEqual(report);
    expect(await statuses()).toEqual(expected);
    expect(await watchdog.run()).toEqual({ caughtUp: 0, missed: 0, waiting: 0, unwatched: 0 });
  },
);

test("a week that no tick asked for is caught up with, also the first and a tenant's", async () => {
  for (const tenantId of [undefined, "acme"]) {
    const scope = tenantId === undefined ? "global" : "tenant";
    const id = `weekly-${scope}`;
    const { dispatcher, schedule, watchdog, start, moveTo } = host({
      id,
      cron: "0 7 * * 1",
      timeZone: "Europe/Berlin",
      scope,
      catchUp: "latest",
    });
    const { start: current } = schedule.windowAt(start);
    await watchdog.declare();
    await setDeclared(id, new Date(current.getTime() - 20 * day));
    if (tenantId !== undefined) {
      const scheduledAt = new Date(current.getTime() - 8 * day);
      await dispatcher.dispatch({ schedule: id, source: "cron", tenantId, scheduledAt });
    }
    moveTo(current.getTime() - start.getTime() + 5 * minute);
    const report = await watchdog.run();
    expect(report).toMatchObject({ caughtUp: 1, unwatched: 0 });
    const newest = schedule.windowAt(new Date(current.getTime() - 1));
    const { rows } = await t.database.pool.query(
      `SELECT status, window_start, window_seconds FROM evenkeel.background_dispatch_window
       WHERE schedule = $1 ORDER BY window_start DESC LIMIT 1`,
      [id],
    );
    expect(rows).toEqual([
      { status: "ENQUEUED", window_start: newest.start, window_seconds: newest.seconds },
    ]);
  }
});

test("a schedule that cannot be looked at keeps none of the others from it", async () => {
  const ids = ["a", "b", "c"];
  const { clock, start, moveTo } = host({});
  const schedules = ids.map((id) => defineSchedule({ id, every: 60, catchUp: "latest" }));
  const dispatched: string[] = [];
  const failures: unknown[] = [];
  const error = (...line: unknown[]): void => void failures.push(line);
  const watchdog = createWatchdog({
    schedules,
    ledger: t.ledger,
    dispatcher: {
      whyHeld: () => undefined,
      catchUp: ({ schedule }) => {
        dispatched.push(schedule);
        throw new Error(`${schedule} cannot be dispatched, whatever password=hunter2 it takes`);
      },
    },
    owner: "host-1",
    clock,
    logger: { ...silentLogger, error },
  });
  await watchdog.declare();
  for (const id of ids) await setDeclared(id, start);
  moveTo(5 * minute);
  // What will not be caught up with is on record all the same.
  expect(await watchdog.run()).toEqual({ caughtUp: 0, missed: 6, waiting: 0, unwatched: 3 });
  expect(dispatched.toSorted()).toEqual(ids);
  expect(await statuses()).toEqual(Array.from({ length: 6 }, () => "MISSED"));
  expect(failures).toHaveLength(3);
  expect(failures).toContainEqual([
    "watchdog.failed",
    { schedule: "b", tenantId: null, error: expect.stringContaining("b cannot be dispatched") },
  ]);
  expect(JSON.stringify(failures)).not.toContain("hunter2");
});

test("a schedule whose windows become longer or shorter is judged by the definition of each time", async () => {
  const { dispatcher, schedule, start } = host({ catchUp: "latest" });
  const { schedules } = t.ledger;
  const declare = ({ id, paused, definition }: Schedule): Promise<void> =>
    schedules.declare([{ id, paused, definition }]);
  await declare(schedule);
  await setDeclared("s", new Date(start.getTime() - 40 * minute));
  for (let at = -39; at <= -5; at += 1) {
    const scheduledAt = new Date(start.getTime() + at * minute);
    if (at !== -20) await dispatcher.dispatch({ schedule: "s", source: "cron", scheduledAt });
  }
  for (const every of [120, 15]) {
    const changed = host({ every, catchUp: "latest" });
    await declare(changed.schedule);
    // The same windows: nothing is dated.
    await declare(defineSchedule({ ...changed.schedule.definition, catchUp: "none" }));
    await declare(changed.schedule);
    const { rows } = await t.database.pool.query<{ defined_at: Date; earlier: number }>(
      `SELECT defined_at, jsonb_array_length(earlier_definitions) AS earlier
       FROM evenkeel.background_schedule`,
    );
    expect(rows).toMatchObject([{ earlier: every === 120 ? 1 : 2 }]);
    await changed.watchdog.run();
    const { rows: missed } = await t.database.pool.query<{ seconds: number; start: Date }>(
      `SELECT window_seconds AS seconds, window_start AS start FROM evenkeel.background_dispatch_window
       WHERE status = 'MISSED' ORDER BY window_start`,
    );
    expect(missed.filter(({ seconds }) => seconds === 60)).toEqual([
      { seconds: 60, start: new Date(start.getTime() - 20 * minute) },
    ]);
    const definedAt = rows[0]?.defined_at ?? new Date(0);
    const ofPresent = missed.filter(({ seconds }) => seconds === every);
    expect(ofPresent.length).toBeGreaterThan(0);
    expect(ofPresent.filter((window) => window.start <= definedAt)).toEqual([]);
  }
});

test("many hosts at once record and catch up once", async () => {
  const { dispatcher, watchdog, moveTo } = host({ catchUp: "latest" });
  await watchdog.declare();
  await dispatcher.dispatch({ schedule: "s", source: "cron" });
  moveTo(5 * minute);
  const reports = await Promise.all(Array.from({ length: 6 }, () => watchdog.run()));
  expect(reports.reduce((sum, { caughtUp }) => sum + caughtUp, 0)).toBe(1);
  expect(await statuses()).toEqual(["ENQUEUED", "MISSED", "MISSED", "ENQUEUED"]);
});

test("a late tick dispatches a window that was recorded as missed", async () => {
  const { dispatcher, watchdog, moveTo, start } = host({});
  await watchdog.declare();
  await dispatcher.dispatch({ schedule: "s", source: "cron" });
  moveTo(3 * minute);
  await watchdog.run();
  const scheduledAt = new Date(start.getTime() + minute);
  const receipt = await dispatcher.dispatch({ schedule: "s", source: "cron", scheduledAt });
  expect(receipt.mode).toBe("dispatch-only");
  expect(await statuses()).toEqual(["ENQUEUED", "ENQUEUED"]);
});

test("windows of a pause are not missed, and a deploy resumes nothing", async () => {
  const { dispatcher, watchdog, moveTo } = host({});
  await watchdog.declare();
  await dispatcher.dispatch({ schedule: "s", source: "cron" });
  await t.ledger.asOperator("night-shift").schedules.pause("s");
  moveTo(5 * minute);
  await watchdog.declare();
  expect(await t.ledger.schedules.find("s")).toMatchObject({
    paused: true,
    pausedBy: "night-shift",
  });
  expect(await watchdog.run()).toEqual({ caughtUp: 0, missed: 0, waiting: 0, unwatched: 0 });
  expect(await statuses()).toEqual(["ENQUEUED"]);
});

test("a schedule may start out paused, once", async () => {
  const { watchdog } = host({ paused: true });
  await watchdog.declare();
  expect(await t.ledger.schedules.find("s")).toMatchObject({ paused: true });
  await t.ledger.asOperator("ops").schedules.resume("s");
  await watchdog.declare();
  expect(await t.ledger.schedules.find("s")).toMatchObject({ paused: false });
});

test("a tenant's schedule is watched for every tenant that it was dispatched for", async () => {
  const { dispatcher, watchdog, moveTo } = host({ scope: "tenant", catchUp: "latest" });
  await watchdog.declare();
  for (const tenantId of ["a", "b"]) {
    await dispatcher.dispatch({ schedule: "s", source: "cron", tenantId });
  }
  moveTo(3 * minute);
  expect(await watchdog.run()).toEqual({ caughtUp: 2, missed: 0, waiting: 0, unwatched: 0 });
});

test("the sender of a tick can ask later what became of it", async () => {
  const { dispatcher } = host({});
  const { dispatchKey } = await dispatcher.dispatch({ schedule: "s", source: "cron" });
  const handler = createReceiptHandler({ ledger: t.ledger, receiptsSecrets: ["secret"] });
  const ask = async (key: string, secret = "secret"): Promise<Response> =>
    handler(
      new Request(`http://127.0.0.1/api/cron/receipts/${encodeURIComponent(key)}`, {
        headers: { authorization: `Bearer ${secret}` },
      }),
    );
  expect(await (await ask(dispatchKey)).json()).toMatchObject({ progress: "dispatched", runs: [] });
  const run = { runId: "r-1", functionId: "app-process-background-jobs" };
  const eventName = "background/process.requested";
  await t.ledger.runs.begin({ ...run, eventName, dispatchKey, owner: "w", attempt: 0 });
  expect(await (await ask(dispatchKey)).json()).toMatchObject({ progress: "started" });
  await t.ledger.runs.finish({ ...run, status: "SUCCEEDED" });
  const response = await ask(dispatchKey);
  expect(response.status).toBe(200);
  expect(await response.json()).toMatchObject({
    progress: "finished",
    window: { dispatchKey, status: "ENQUEUED" },
    runs: [{ runId: "r-1", status: "SUCCEEDED" }],
  });
  expect((await ask("no|such|key")).status).toBe(404);
  expect((await ask(dispatchKey, "wrong")).status).toBe(401);
  expect(
    (
      await createReceiptHandler({ ledger: t.ledger, receiptsSecrets: [] })(
        new Request("http://x/k"),
      )
    ).status,
  ).toBe(503);
});
