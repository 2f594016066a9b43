import { createRunner, defineJob, handleJob, type Runner } from "@evenkeel/jobs";
import { createLedger, type FanOutState, type Ledger } from "@evenkeel/ledger";
import { installMovableClock, type MovableClock } from "@evenkeel/test-postgres/movable-clock";
import { setup, type Setup } from "@evenkeel/test-postgres/testing";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { z } from "zod";

import { createDispatcher } from "../dispatcher/dispatcher.ts";
import { dueAt, placeOf, type StartJob, type TenantPage } from "../schedule/schedule-start.ts";
import { defineSchedule, type ScheduleOptions } from "../schedule/schedule.ts";
import { createFanOut } from "./fan-out.ts";

let t: Setup<Ledger>;
let clock: MovableClock;
beforeEach(async () => {
  t = await setup(createLedger);
  clock = await installMovableClock(t.database);
});
afterEach(() => t.close());

const job = defineJob({ type: "digest.send", version: 1, payload: z.object({ n: z.number() }) });

/** Pages of so many of a product's tenants, by their ids in order. */
function pagesOf(count: number, size: number) {
  const ids = Array.from({ length: count }, (_, n) => `tenant-${String(n).padStart(5, "0")}`);
  return (cursor: string | undefined): TenantPage => {
    const from = cursor === undefined ? 0 : ids.indexOf(cursor) + 1;
    const tenants = ids.slice(from, from + size);
    const last = tenants.at(-1);
    return from + size < count && last !== undefined ? { tenants, next: last } : { tenants };
  };
}

function host(tenants: StartJob["tenants"], settings: Partial<ScheduleOptions & StartJob> = {}) {
  const { perSecond = 10_000, spreadSeconds, every = 3_600, ...rest } = settings;
  const schedule = defineSchedule({
    id: "digest",
    every,
    scope: "tenant",
    start: {
      job,
      payload: ({ start }) => ({ n: start.getTime() }),
      ...(tenants === undefined ? {} : { tenants }),
      perSecond,
      ...(spreadSeconds === undefined ? {} : { spreadSeconds }),
    },
    ...rest,
  });
  const dispatcher = createDispatcher({
    ledger: t.ledger,
    send: () => Promise.resolve(),
    config: { useInngest: { enabled: true, because: "test" }, windowSeconds: 60 },
    environment: "test",
    owner: "host-1",
    clock: { now: () => new Date(clock.now()) },
    schedules: [schedule],
  });
  const worker = (budgetMs?: number): Runner =>
    createRunner({
      ledger: t.ledger,
      handlers: [
        createFanOut({
          ledger: t.ledger,
          pool: t.database.pool,
          schedules: [schedule],
          ...(budgetMs === undefined ? {} : { budgetMs }),
        }),
      ],
      owner: "worker-1",
    });
  const tick = async (scheduledAt?: Date): Promise<string> => {
    const at = scheduledAt === undefined ? {} : { scheduledAt };
    return (await dispatcher.dispatch({ schedule: "digest", source: "cron", ...at })).dispatchKey;
  };
  return { tick, worker };
}

async function count(): Promise<{ jobs: number; tenants: number }> {
  const { rows } = await t.database.pool.query<{ jobs: number; tenants: number }>(
    `SELECT count(*)::int AS jobs, count(DISTINCT tenant_id)::int AS tenants
     FROM evenkeel.background_job WHERE type = 'digest.send'`,
  );
  return rows[0] ?? { jobs: 0, tenants: 0 };
}

const stateOf = async (key: string): Promise<FanOutState | null | undefined> =>
  (await t.ledger.windows.find(key))?.fanOut;

test("10,000 tenants get a job each, due over the window and no more than a few in any second", async () => {
  const page = pagesOf(10_000, 2_500);
  const { tick, worker } = host(async (cursor) => page(cursor));
  const key = await tick();
  expect(await worker().drain({ budgetMs: 600_000 })).toMatchObject({ succeeded: 1 });
  expect(await count()).toEqual({ jobs: 10_000, tenants: 10_000 });
  expect(await stateOf(key)).toMatchObject({ cursor: null, tenants: 10_000, skipped: 0 });
  const { rows } = await t.database.pool.query<{ most: number; first: Date; last: Date }>(
    `SELECT max(jobs)::int AS most, min(at) AS first, max(at) AS last FROM (
       SELECT count(*) AS jobs, date_trunc('second', run_at) AS at FROM evenkeel.background_job
       WHERE type = 'digest.send' GROUP BY 2
     ) AS per_second`,
  );
  const [{ most, first, last } = { most: 0, first: new Date(0), last: new Date(0) }] = rows;
  expect(most).toBeLessThan(30); // 2.8 on average; what is due at once is the 1 % whose place has passed.
  expect(last.getTime() - first.getTime()).toBeGreaterThan(3_500_000);
});

test("a worker that dies is followed at its cursor, and what it does when it comes back is void", async () => {
  const page = pagesOf(10, 2);
  const asked: (string | undefined)[] = [];
  const stuck = Promise.withResolvers<undefined>();
  const back = Promise.withResolvers<undefined>();
  let dies = true;
  const { tick, worker } = host(async (cursor) => {
    asked.push(cursor);
    const found = page(cursor);
    if (dies && asked.length === 3) {
      dies = false;
      stuck.resolve(undefined);
      await back.promise;
    }
    return found;
  });
  const key = await tick();
  const first = worker().drain({ budgetMs: 600_000 });
  await stuck.promise;
  expect(await stateOf(key)).toMatchObject({
    cursor: "tenant-00003",
    tenants: 4,
    finishedAt: null,
  });
  await t.database.pool.query(
    `UPDATE evenkeel.background_job SET lease_expires_at = now() - interval '1 second'
     WHERE type = 'evenkeel.fan-out'`,
  );
  expect(await worker().drain({ budgetMs: 600_000 })).toMatchObject({ succeeded: 1 });
  expect(asked.slice(2)).toEqual(["tenant-00003", "tenant-00003", "tenant-00005", "tenant-00007"]);
  const done = await stateOf(key);
  expect(done).toMatchObject({ cursor: null, tenants: 10 });
  back.resolve(undefined);
  await first;
  expect(await stateOf(key)).toEqual(done);
  expect(await count()).toEqual({ jobs: 10, tenants: 10 });
});

test("a page that was enqueued and not recorded is repeated, also when its jobs have ended, and makes none twice", async () => {
  const page = pagesOf(4, 2);
  let failures = 1;
  const handlers = [handleJob(job, async () => {})];
  const digests = createRunner({ ledger: t.ledger, handlers, owner: "worker-2" });
  const ended: number[] = [];
  const { windows } = t.ledger;
  const failing = {
    ...windows,
    stepFanOut: async (step: Parameters<typeof windows.stepFanOut>[0]) => {
      failures -= 1;
      // What the page made has run by now.
      if (failures === 0) {
        ended.push((await digests.drain({ budgetMs: 600_000 })).succeeded);
        throw new Error("The connection was lost.");
      }
      return windows.stepFanOut(step);
    },
  };
  const { tick } = host(async (cursor) => page(cursor));
  const schedule = defineSchedule({
    id: "digest",
    every: 3_600,
    scope: "tenant",
    start: {
      job,
      payload: () => ({ n: 1 }),
      spreadSeconds: 0,
      tenants: async (cursor) => page(cursor),
    },
  });
  const fanOut = createFanOut({
    ledger: { windows: failing },
    pool: t.database.pool,
    schedules: [schedule],
  });
  const runner = createRunner({ ledger: t.ledger, handlers: [fanOut], owner: "worker-1" });
  await tick();
  expect(await runner.drain({ budgetMs: 600_000 })).toMatchObject({ retried: 1 });
  expect(ended).toEqual([2]);
  await clock.advance(3_600_000);
  expect(await runner.drain({ budgetMs: 600_000 })).toMatchObject({ succeeded: 1 });
  const { rows } = await t.database.pool.query<{ tenant: string }>(
    `SELECT tenant_id AS tenant FROM evenkeel.background_job WHERE type = 'digest.send' ORDER BY 1`,
  );
  expect(rows.map(({ tenant }) => tenant)).toEqual(["tenant-00002", "tenant-00003"]);
});

test("no more than so many tenants a second, over as many attempts as that takes", async () => {
  const page = pagesOf(60, 10);
  const { tick, worker } = host(async (cursor) => page(cursor), { perSecond: 100 });
  await tick();
  const startedAtMs = performance.now();
  // An attempt makes room for others after its budget: here after each page.
  for (let attempt = 0; attempt < 6; attempt += 1) {
    await worker(1).drain({ budgetMs: 600_000 });
    await clock.advance(1_000);
  }
  expect(await count()).toEqual({ jobs: 60, tenants: 60 });
  const { rows } = await t.database.pool.query<{ attempt: number }>(
    `SELECT attempt FROM evenkeel.background_job_history WHERE type = 'evenkeel.fan-out'`,
  );
  expect(rows).toEqual([{ attempt: 1 }]);
  const paced = host(async (cursor) => page(cursor), { perSecond: 100 });
  await clock.advance(3_600_000);
  await paced.tick();
  const pacedAtMs = performance.now();
  await paced.worker().drain({ budgetMs: 600_000 });
  expect(performance.now() - pacedAtMs).toBeGreaterThanOrEqual(500);
  expect(pacedAtMs).toBeGreaterThan(startedAtMs);
  expect(await count()).toEqual({ jobs: 120, tenants: 60 });
});

test("tenants that cannot be read are tried again, and a cursor that stands still has a dead letter", async () => {
  let failures = 2;
  const page = pagesOf(3, 2);
  const { tick, worker } = host(async (cursor) => {
    failures -= 1;
    if (failures >= 0) throw new Error("The product's database is away.");
    return page(cursor);
  });
  await tick();
  for (let attempt = 0; attempt < 3; attempt += 1) {
    await worker().drain({ budgetMs: 600_000 });
    await clock.advance(600_000);
  }
  expect(await count()).toEqual({ jobs: 3, tenants: 3 });
  const looping = defineSchedule({
    id: "digest",
    every: 3_600,
    scope: "tenant",
    start: { job, payload: () => ({ n: 1 }), tenants: async () => ({ tenants: ["a"], next: "a" }) },
  });
  const fanOut = createFanOut({ ledger: t.ledger, pool: t.database.pool, schedules: [looping] });
  await clock.advance(3_600_000);
  await tick();
  const runner = createRunner({ ledger: t.ledger, handlers: [fanOut], owner: "worker-1" });
  expect(await runner.drain({ budgetMs: 600_000 })).toMatchObject({ dead: 1 });
});

test("a host that does not know the schedule leaves the fan-out to one that does", async () => {
  const page = pagesOf(2, 2);
  const { tick, worker } = host(async (cursor) => page(cursor));
  await tick();
  const other = createFanOut({ ledger: t.ledger, pool: t.database.pool, schedules: [] });
  const stranger = createRunner({ ledger: t.ledger, handlers: [other], owner: "worker-2" });
  expect(await stranger.drain({ budgetMs: 600_000 })).toMatchObject({ succeeded: 0, dead: 0 });
  await clock.advance(61_000);
  expect(await worker().drain({ budgetMs: 600_000 })).toMatchObject({ succeeded: 1 });
  expect(await count()).toEqual({ jobs: 2, tenants: 2 });
});

test("a tenant's place is the same in every window, even over tenants, and another in another schedule", () => {
  const places = Array.from({ length: 10_000 }, (_, n) => placeOf("digest", `tenant-${n}`));
  const tenths = places.reduce<number[]>((counts, place) => {
    const tenth = Math.floor(place * 10);
    counts[tenth] = (counts[tenth] ?? 0) + 1;
    return counts;
  }, []);
  expect(Math.min(...tenths)).toBeGreaterThan(900);
  expect(Math.max(...tenths)).toBeLessThan(1_100);
  expect(placeOf("digest", "acme")).toBe(placeOf("digest", "acme"));
  expect(placeOf("digest", "acme")).not.toBe(placeOf("report", "acme"));
});

test("whatever the window and however late it is fanned out, a job is due in its spread, and never before that", () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      fc.integer({ min: 15, max: 8 * 86_400 }),
      fc.integer({ min: 0, max: 10 * 86_400_000 }),
      fc.option(fc.integer({ min: 0, max: 10 * 86_400 }), { nil: undefined }),
      (place, seconds, lateMs, spreadSeconds) => {
        const start = new Date("2026-01-05T07:00:00Z");
        const fannedOutAt = new Date(start.getTime() + lateMs);
        const due = dueAt(place, { start, seconds }, fannedOutAt, spreadSeconds);
        const spreadMs = Math.min(spreadSeconds ?? seconds, seconds) * 1_000;
        expect(due.getTime()).toBeGreaterThanOrEqual(fannedOutAt.getTime() - 1);
        expect(due.getTime()).toBeLessThanOrEqual(start.getTime() + lateMs + spreadMs);
        const ownMs = Math.trunc(start.getTime() + place * spreadMs);
        expect(place * spreadMs < lateMs || due.getTime() === ownMs).toBe(true);
      },
    ),
  );
});
