import { installMovableClock, type MovableClock } from "@evenkeel/test-postgres/movable-clock";
import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import { Pool } from "pg";
import { afterEach, beforeEach, expect, inject, test } from "vitest";

import { toSqlClient } from "../database/database.ts";
import { createLedger, type Ledger } from "../ledger.ts";
import { newJob } from "../testing/job-queue.ts";
import { explainStatement } from "../testing/plan.ts";
import type { TickOutlook, TickRequest } from "./tick-outlook.ts";
import type { WindowClaim } from "./window.ts";

let database: TestDatabase;
let clock: MovableClock;
let ledger: Ledger;
beforeEach(async () => {
  database = await createTestDatabase();
  clock = await installMovableClock(database);
  ledger = createLedger({ pool: database.pool, reserveConnections: false });
});
afterEach(async () => {
  await ledger.close();
  await database.drop();
});

const minuteMs = 60_000;

function windowAt(ms: number, schedule = "s", seconds = 60): Omit<WindowClaim, "leaseMs"> {
  const windowStart = new Date(Math.floor(ms / (seconds * 1_000)) * seconds * 1_000);
  return {
    dispatchKey: `${schedule}|v1|global|${seconds}|${windowStart.toISOString()}`,
    schedule,
    scope: "global",
    windowStart,
    windowSeconds: seconds,
    lane: "stable" as const,
    owner: "o",
    correlationId: "c",
  };
}

function tickAt(ms: number, change: Partial<TickRequest> & { readonly seconds?: number } = {}) {
  const { seconds, ...rest } = change;
  const { dispatchKey, schedule, scope, windowStart, windowSeconds } = windowAt(
    ms,
    change.schedule,
    seconds,
  );
  const judgement = { neverStartedAfterMs: 2 * minuteMs, staleAfterMs: 20 * minuteMs };
  const window = { dispatchKey, schedule, scope, windowStart, windowSeconds };
  return {
    ...window,
    ...judgement,
    mayBeIdle: true,
    skipOnOverlap: false,
    lane: "stable" as const,
    ...rest,
  };
}

/** What is due; the handshake beside it has tests of its own. */
async function look(
  change: Partial<TickRequest> & { readonly seconds?: number } = {},
): Promise<Omit<TickOutlook, "handshake">> {
  const { handshake: _handshake, ...outlook } = await ledger.windows.look(
    tickAt(clock.now(), change),
  );
  return outlook;
}

/** Dispatches the window of now, with these events. */
async function send(events: readonly ("process" | "maintenance")[], schedule = "s") {
  const window = windowAt(clock.now(), schedule);
  const names = events.map((event) => `background/${event}.requested`);
  const claim = await ledger.windows.claim({ ...window, events: names, leaseMs: 30_000 });
  if (claim.outcome !== "claimed") throw new Error(`The window is ${claim.outcome}.`);
  await ledger.windows.markEnqueued(window.dispatchKey, claim.fence);
  return window;
}

async function startRun(dispatchKey: string): Promise<void> {
  const eventName = "background/process.requested";
  await ledger.runs.begin({
    runId: dispatchKey,
    functionId: "f",
    eventName,
    dispatchKey,
    owner: "o",
    attempt: 0,
  });
}

/** Upkeep was sent a moment ago, by another schedule. */
const maintained = (): Promise<unknown> => send(["maintenance"], "upkeep");

const idle = { isIdle: true, hasWork: false, isMaintenanceDue: false };

async function fired(schedule = "s"): Promise<unknown[]> {
  const { rows } = await database.pool.query<{ ranges: string; count: string }>(
    `SELECT fired::text AS ranges, idle_count::text AS count FROM evenkeel.background_schedule_idle
     WHERE schedule = $1`,
    [schedule],
  );
  return rows.map(({ ranges, count }) => [
    Number(count),
    [...ranges.matchAll(/ (\d\d:\d\d)/gu)].map(([, time]) => time).join(" "),
  ]);
}

test("upkeep is due at first, 30 minutes after the last when idle, and 5 minutes after it when work was sent", async () => {
  const due = { isIdle: false, hasWork: false, isMaintenanceDue: true };
  expect(await look()).toEqual(due);
  await maintained();
  expect(await look()).toEqual(idle);
  await clock.advance(29 * minuteMs);
  expect(await look()).toEqual(idle);
  await clock.advance(minuteMs + 1_000);
  expect(await look()).toEqual(due);
  await maintained();
  await startRun((await send(["process"])).dispatchKey);
  await clock.advance(4 * minuteMs);
  expect(await look()).toEqual(idle);
  await clock.advance(minuteMs + 1_000);
  expect(await look()).toEqual(due);
  await maintained();
  await clock.advance(6 * minuteMs);
  expect(await look()).toEqual(idle);
  // With something due, 5 minutes.
  await ledger.jobs.insert(undefined, [newJob("j")]);
  expect(await look()).toEqual({ isIdle: false, hasWork: true, isMaintenanceDue: true });
});

test("a window of a nudge is no upkeep", async () => {
  const nudged = windowAt(clock.now(), "s", 1);
  const claim = await ledger.windows.claim({ ...nudged, leaseMs: 30_000 });
  if (claim.outcome !== "claimed") throw new Error("not claimed");
  await ledger.windows.markEnqueued(nudged.dispatchKey, claim.fence);
  await startRun(nudged.dispatchKey);
  expect(await look()).toMatchObject({ isMaintenanceDue: true });
});

test("jobs that are due are work, of any type, and what is scheduled becomes it in its time", async () => {
  await maintained();
  const soon = (ms: number): Date => new Date(clock.now() + ms);
  const many = Array.from({ length: 30 }, (_, n) =>
    newJob(`later.${n}`, { runAt: soon(24 * 60 * minuteMs) }),
  );
  await ledger.jobs.insert(undefined, [
    ...many,
    newJob("later.15", { runAt: soon(4 * minuteMs), tenantId: "other" }),
  ]);
  expect(await look()).toEqual(idle);
  await clock.advance(4 * minuteMs - 5_000);
  expect(await look()).toEqual(idle);
  // A drain that began now would still see it.
  await clock.advance(4_000);
  expect(await look()).toEqual({ isIdle: false, hasWork: true, isMaintenanceDue: false });
  // Also where nobody serves the type, and promotes it.
  await clock.advance(20 * minuteMs);
  expect(await look()).toMatchObject({ isIdle: false, hasWork: true });
});

test("what a worker holds is no work for others, until its lease has expired", async () => {
  await maintained();
  await ledger.jobs.insert(undefined, [newJob("j")]);
  expect(await look()).toMatchObject({ hasWork: true });
  const request = { lane: "stable", leaseMs: 30_000, owner: "o", types: ["j"], limit: 1 } as const;
  const { jobs } = await ledger.jobs.claim(request);
  expect(jobs).toHaveLength(1);
  expect(await look()).toEqual(idle);
  await clock.advance(31_000);
  expect(await look()).toMatchObject({ hasWork: true });
});

test("an enqueue in an open transaction is seen by the tick after its commit", async () => {
  await maintained();
  const client = await database.pool.connect();
  try {
    await client.query("BEGIN");
    await ledger.jobs.insert(toSqlClient(client), [newJob("j")]);
    expect(await look()).toEqual(idle);
    await client.query("COMMIT");
  } finally {
    client.release();
  }
  // The same window: it was idle, and has work now.
  expect(await look()).toMatchObject({ isIdle: false, hasWork: true });
});

const upkeepNow = { isIdle: false, isMaintenanceDue: true };

test("what waits for repair makes upkeep due at once", async () => {
  const window = windowAt(clock.now(), "other");
  const claim = await ledger.windows.claim({ ...window, leaseMs: 30_000 });
  if (claim.outcome !== "claimed") throw new Error("not claimed");
  await maintained();
  expect(await look()).toEqual(idle);
  await clock.advance(31_000);
  expect(await look()).toMatchObject(upkeepNow); // Its host died.
  await ledger.windows.markFailed(window.dispatchKey, claim.fence, "refused");
  expect(await look()).toMatchObject(upkeepNow); // Its send failed.
  await ledger.asOperator("night").schedules.pause("other");
  expect(await look()).toEqual(idle);
  await ledger.asOperator("night").schedules.resume("other");
  await clock.advance(25 * 60 * minuteMs);
  await maintained();
  expect(await look()).toEqual(idle); // It has a dead letter by now, or gets one.
});

test("a window whose run never started or fell silent waits for repair, one without work does not", async () => {
  const { dispatchKey } = await send(["process"]);
  await maintained();
  await clock.advance(minuteMs);
  expect(await look()).toEqual(idle);
  await clock.advance(minuteMs + 1_000);
  expect(await look()).toMatchObject(upkeepNow);
  await startRun(dispatchKey);
  expect(await look()).toEqual(idle);
  await clock.advance(20 * minuteMs);
  await maintained();
  expect(await look()).toMatchObject(upkeepNow);
  const request = { owner: "o", leaseMs: 1, maxAgeMs: 86_400_000, limit: 10 };
  const found = await ledger.reconcile({
    ...request,
    neverStartedAfterMs: 2 * minuteMs,
    staleAfterMs: 20 * minuteMs,
  });
  // The window of upkeep has no process run, and nobody waits for one.
  expect(found.repairs.map((repair) => repair.window.dispatchKey)).toEqual([dispatchKey]);
});

test("an event of the outbox makes upkeep due, unless a relay is at work or waits for Inngest", async () => {
  await maintained();
  await ledger.outbox.add(database.pool, { id: "e", name: "n", data: {} });
  expect(await look()).toMatchObject(upkeepNow);
  const fence = "00000000-0000-4000-8000-000000000000";
  await ledger.outbox.lease({ fence, owner: "o", leaseMs: 10_000 });
  expect(await look()).toEqual(idle);
  await ledger.outbox.settle({ fence, sent: [], failure: { error: "down", delayMs: 60_000 } });
  expect(await look()).toEqual(idle);
  await clock.advance(61_000);
  expect(await look()).toMatchObject(upkeepNow);
});

test("a window that is on record, paused or left out by an earlier run is not idle", async () => {
  const earlier = await send(["process"]);
  await startRun(earlier.dispatchKey);
  await maintained();
  const nothing = { isIdle: false, hasWork: false, isMaintenanceDue: false };
  expect(await look()).toEqual(nothing);
  await clock.advance(minuteMs);
  expect(await look({ skipOnOverlap: true })).toEqual(nothing);
  expect(await look({ mayBeIdle: false })).toEqual(nothing);
  await ledger.asOperator("night").schedules.pause("s");
  expect(await look()).toEqual(nothing);
  expect(await fired()).toEqual([]);
  await ledger.asOperator("night").schedules.resume("s");
  expect(await look()).toEqual(idle);
  expect(await fired()).toEqual([[1, "00:01 00:02"]]);
});

test("idle windows are one row, each counted once, and joined where nothing is missing between them", async () => {
  await maintained();
  await look();
  await look();
  expect(await fired()).toEqual([[1, "00:00 00:01"]]);
  await clock.advance(minuteMs);
  await look();
  expect(await fired()).toEqual([[2, "00:00 00:02"]]);
  await clock.advance(minuteMs);
  await startRun((await send(["process"])).dispatchKey); // 00:02 is on record.
  await clock.advance(minuteMs);
  await look();
  expect(await fired()).toEqual([[3, "00:00 00:04"]]);
  await clock.advance(2 * minuteMs); // Nobody ticked in 00:04.
  await maintained();
  await look();
  expect(await fired()).toEqual([[4, "00:00 00:04 00:05 00:06"]]);
  // A tick that comes late fills its gap.
  await ledger.windows.look(tickAt(clock.now() - minuteMs));
  expect(await fired()).toEqual([[5, "00:00 00:06"]]);
  expect(await ledger.windows.wasIdle(windowAt(clock.now()).dispatchKey)).toBe(true);
  const next = windowAt(clock.now() + minuteMs);
  for (const key of [next.dispatchKey, "s", "s|v1|global|x|y", "", "s|v1|tenant:a|60|z"]) {
    expect(await ledger.windows.wasIdle(key)).toBe(false);
  }
  expect((await ledger.report()).windows).toMatchObject({ idle: 5 });
});

test("ranges of more than two days ago go, and a window of a week stays whole", async () => {
  await maintained();
  await look();
  await look({ schedule: "weekly", seconds: 7 * 86_400 });
  for (let day = 0; day < 3; day += 1) {
    await clock.advance(24 * 60 * minuteMs);
    await maintained();
    await look();
  }
  const { rows } = await database.pool.query(
    `SELECT schedule, (SELECT count(*)::int FROM unnest(fired)) AS ranges,
       extract(epoch FROM upper(fired) - lower(fired))::int AS seconds
     FROM evenkeel.background_schedule_idle ORDER BY schedule`,
  );
  expect(rows).toEqual([
    { schedule: "s", ranges: 3, seconds: 2 * 86_400 + 30 },
    { schedule: "weekly", ranges: 1, seconds: 7 * 86_400 },
  ]);
});

test("500 ticks of one idle window at once count it once", async () => {
  await maintained();
  const answers = await Promise.all(Array.from({ length: 500 }, () => look()));
  expect(answers.filter(({ isIdle }) => isIdle)).toHaveLength(500);
  expect(await fired()).toEqual([[1, "00:00 00:01"]]);
});

test("with 20,000 tenants scheduled for tomorrow an idle look reads a few rows of each index", async () => {
  await database.pool.query(
    `INSERT INTO evenkeel.background_job (
       tenant_id, type, payload, max_attempts, state, bucket, fence, run_at, turn_at, created_at
     )
     SELECT 't' || n, 'type.' || n % 5, '{}', 3, 'SCHEDULED', n % 10000, 0, tomorrow, tomorrow, tomorrow
     FROM generate_series(1, 20000) AS n, (SELECT now() + interval '1 day' AS tomorrow) AS once`,
  );
  await maintained();
  const { dispatchKey, windowStart } = tickAt(clock.now());
  for (const stats of ["none", "analyzed"]) {
    if (stats === "analyzed") await database.pool.query("ANALYZE evenkeel.background_job");
    const reads: number[] = [];
    for (let call = 0; call < 8; call += 1) {
      const [node] = await explainStatement(
        database,
        `SELECT FROM evenkeel.look_at_tick($1, 's', 'global', $2, 60, true, false, 120000, 1200000)`,
        [dispatchKey, windowStart],
      );
      reads.push(node?.["Shared Hit Blocks"] ?? Number.NaN);
    }
    // A connection's first calls read the catalog; the table has hundreds of pages.
    expect(Math.min(...reads)).toBeLessThan(80);
  }
  expect(await look()).toEqual(idle);
});

test("a database user that is not the owner looks and records", async () => {
  await maintained();
  const user = `tick_${process.pid}`;
  await database.pool.query(`CREATE ROLE ${user} LOGIN PASSWORD 'hunter2'`);
  const url = new URL(inject("postgres").url);
  url.pathname = new URL(database.databaseUrl).pathname;
  Object.assign(url, { username: user, password: "hunter2" });
  const pool = new Pool({ connectionString: url.href, max: 1 });
  try {
    await database.pool.query(`SELECT evenkeel.grant_to($1)`, [user]);
    await database.pool.query(`GRANT USAGE ON SCHEMA clock TO ${user};
      GRANT ALL ON ALL TABLES IN SCHEMA clock TO ${user}; GRANT ALL ON ALL SEQUENCES IN SCHEMA clock TO ${user}`);
    const other = createLedger({ pool, reserveConnections: false });
    expect(await other.windows.look(tickAt(clock.now()))).toMatchObject(idle);
    await ledger.jobs.insert(undefined, [newJob("j")]);
    expect(await other.windows.look(tickAt(clock.now()))).toMatchObject({ hasWork: true });
    await other.close();
  } finally {
    await pool.end();
    await database.pool.query(`DROP OWNED BY ${user} CASCADE; DROP ROLE ${user}`);
  }
});
