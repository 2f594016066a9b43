import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";

import { toSqlClient } from "../database/database.ts";
import type { ClaimedJob, ClaimResult, NewJob } from "./job.ts";
import { createJobStore } from "./job-store.ts";
import { createLedger, type Ledger } from "../ledger.ts";
import type { OperatorQueue } from "./queue-controls.ts";

let database: TestDatabase;
let ledger: Ledger;
let operator: OperatorQueue;
beforeAll(async () => {
  database = await createTestDatabase();
  ledger = createLedger({ pool: database.pool });
  operator = ledger.asOperator("night").queue;
});
beforeEach(async () => {
  await database.pool.query(
    `TRUNCATE evenkeel.background_job, evenkeel.background_job_limit, evenkeel.background_job_rotation`,
  );
});
afterAll(async () => {
  await ledger.close();
  await database.drop();
});

async function insert(
  type: string,
  tenantId: string,
  count: number,
  change: Partial<NewJob> = {},
): Promise<void> {
  const job = { version: 1, payloadText: "{}", lane: "stable", maxAttempts: 3 } as const;
  const jobs = Array.from({ length: count }, () => ({ tenantId, type, ...job, ...change }));
  await ledger.jobs.insert(undefined, jobs);
}

async function claim(
  types: readonly string[],
  limit: number,
  from: Ledger = ledger,
): Promise<ClaimResult> {
  return from.jobs.claim({ lane: "stable", leaseMs: 30_000, owner: "o", types, limit });
}

async function settle(jobs: readonly ClaimedJob[]): Promise<void> {
  await ledger.jobs.settle(jobs.map(({ id, fence }) => ({ id, fence, kind: "succeeded" })));
}

async function isDue(types: readonly string[]): Promise<boolean> {
  return ledger.jobs.hasDue({ lane: "stable", types });
}

/** Milliseconds since 1970, by the database's clock. */
async function databaseTime(): Promise<number> {
  const { rows } = await database.pool.query<{ at: number }>(
    `SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS at`,
  );
  return rows[0]?.at ?? 0;
}

const tenantsOf = ({ jobs }: ClaimResult): string[] =>
  jobs.map(({ tenantId }) => tenantId).toSorted();

test("what is paused is not claimed, nor due: the queue, a type, a tenant; expired leases neither", async () => {
  await insert("a", "t", 1);
  await insert("b", "t", 1);
  await insert("a", "u", 1);
  for (const [subject, claimable] of [
    ["queue", []],
    [{ type: "a" }, ["b t"]],
    [{ tenantId: "t" }, ["a u"]],
  ] as const) {
    await operator.pause(subject, { reason: "an incident" });
    expect(await isDue(["a", "b"])).toBe(claimable.length > 0);
    const { jobs } = await claim(["a", "b"], 10);
    expect(jobs.map(({ type, tenantId }) => `${type} ${tenantId}`)).toEqual(claimable);
    await ledger.jobs.settle(jobs.map(({ id, fence }) => ({ id, fence, kind: "released" })));
    await operator.resume(subject);
  }
  const held = await claim(["a", "b"], 10);
  expect(held.jobs).toHaveLength(3);
  await database.pool.query(
    `UPDATE evenkeel.background_job SET lease_expires_at = now() - interval '1 second'`,
  );
  await operator.pause({ tenantId: "t" });
  expect(tenantsOf(await claim(["a", "b"], 10))).toEqual(["u"]);
  expect(await isDue(["a", "b"])).toBe(false);
  await operator.resume({ tenantId: "t" });
  expect(await isDue(["a", "b"])).toBe(true);
  expect(tenantsOf(await claim(["a", "b"], 10))).toEqual(["t", "t"]);
});

test("priority goes before what is due no more than ten minutes longer per level, and never for ever", async () => {
  const at = (minutesAgo: number): Date => new Date(Date.now() - minutesAgo * 60_000);
  await insert("a", "t", 1, { runAt: at(60), priority: -3 });
  await insert("a", "t", 1, { runAt: at(25) });
  await insert("b", "t", 1, { runAt: at(1), priority: 2 });
  await insert("a", "t", 1, { runAt: at(1), priority: 10 });
  await insert("b", "t", 1, { runAt: at(200) });
  await insert("a", "t", 1, { runAt: new Date(Date.now() + 60_000), priority: 10 });
  const order: number[] = [];
  for (let turn = 0; turn < 5; turn += 1) {
    const { jobs } = await claim(["a", "b"], 1);
    order.push(
      ...jobs.map(({ priority, runAt }) => priority * 10 + (Date.now() - +runAt) / 60_000),
    );
  }
  expect(order).toHaveLength(5);
  expect(order).toEqual(order.toSorted((a, b) => b - a));
  expect((await claim(["a", "b"], 1)).jobs).toEqual([]);
});

test("a tenant's work is claimed in the order of priority and age, whatever its types and the batches", async () => {
  const job = fc.record({
    type: fc.constantFrom("a", "b"),
    priority: fc.constantFrom(-10, -1, 0, 0, 0, 1, 10),
    minutesAgo: fc.integer({ min: 0, max: 300 }),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(job, { minLength: 1, maxLength: 40 }),
      fc.integer({ min: 1, max: 12 }),
      async (specs, limit) => {
        await database.pool.query(`TRUNCATE evenkeel.background_job`);
        const base = Date.now();
        for (const { type, priority, minutesAgo } of specs) {
          await insert(type, "t", 1, { priority, runAt: new Date(base - minutesAgo * 60_000) });
        }
        const ranks: number[] = [];
        while (ranks.length < specs.length) {
          const { jobs } = await claim(["a", "b"], limit);
          expect(jobs).toHaveLength(Math.min(limit, specs.length - ranks.length));
          ranks.push(...jobs.map(({ priority, runAt }) => +runAt - priority * 600_000));
        }
        expect(ranks).toEqual(ranks.toSorted((a, b) => a - b));
      },
    ),
    { numRuns: 40 },
  );
});

test("caps of types and tenants hold under any mix of claims at once, and let everything through", async () => {
  const cap = fc.option(fc.integer({ min: 1, max: 4 }), { nil: null });
  const world = fc.record({
    counts: fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 5 }),
    typeCap: cap,
    everyTenant: cap,
    oneTenant: cap,
    limit: fc.integer({ min: 1, max: 8 }),
  });
  const others = [1, 2, 3].map(() => createLedger({ pool: database.connect(1) }));
  await fc.assert(
    fc.asyncProperty(world, async ({ counts, typeCap, everyTenant, oneTenant, limit }) => {
      await database.pool.query(
        `TRUNCATE evenkeel.background_job, evenkeel.background_job_limit, evenkeel.background_job_rotation`,
      );
      await operator.limit({ type: "a" }, { maxRunning: typeCap });
      await operator.limit("every-tenant", { maxRunning: everyTenant });
      await operator.limit({ tenantId: "t0" }, { maxRunning: oneTenant });
      let left = 0;
      for (const [tenant, count] of counts.entries()) {
        await insert(tenant % 2 === 0 ? "a" : "b", `t${tenant}`, count);
        await insert("a", `t${tenant}`, 1);
        left += count + 1;
      }
      const running = new Map<string, ClaimedJob>();
      const capOf = (tenantId: string): number =>
        (tenantId === "t0" ? (oneTenant ?? everyTenant) : everyTenant) ?? Infinity;
      while (left > 0) {
        const answers = await Promise.all(others.map((from) => claim(["a", "b"], limit, from)));
        const claimed = answers.flatMap(({ jobs }) => jobs);
        for (const job of claimed) running.set(job.id, job);
        const now = [...running.values()];
        expect(now.filter(({ type }) => type === "a").length).toBeLessThanOrEqual(
          typeCap ?? Infinity,
        );
        for (const tenant of new Set(now.map(({ tenantId }) => tenantId))) {
          const count = now.filter(({ tenantId }) => tenantId === tenant).length;
          expect(count).toBeLessThanOrEqual(capOf(tenant));
        }
        // Some end, and make room; with none running, something must have been claimed.
        const ended = now.slice(0, Math.ceil(now.length / 2));
        expect(ended.length).toBeGreaterThan(0);
        await settle(ended);
        for (const { id } of ended) running.delete(id);
        left -= ended.length;
      }
      expect(await isDue(["a", "b"])).toBe(false);
    }),
    { numRuns: 25 },
  );
  for (const other of others) await other.close();
});

test("a type's cap leaves every tenant its turn", async () => {
  await insert("a", "big", 50);
  for (const tenant of ["b", "c", "z"]) await insert("a", tenant, 1);
  await operator.limit({ type: "a" }, { maxRunning: 1 });
  await insert("other", "big", 50);
  const served: string[] = [];
  for (let turn = 0; turn < 8; turn += 1) {
    const { jobs } = await claim(["a", "other"], 4);
    served.push(...jobs.filter(({ type }) => type === "a").map(({ tenantId }) => tenantId));
    await settle(jobs);
  }
  expect(served.slice(0, 4).toSorted()).toEqual(["b", "big", "c", "z"]);
});

test("a rate lets no more start in any period, and the rest later", async () => {
  await insert("a", "t", 30);
  await insert("a", "free", 5);
  await operator.limit({ tenantId: "t" }, { rate: { jobs: 4, periodMs: 1_000 } });
  // Each start fell between the time before its claim and the time after it.
  const starts: { before: number; after: number }[] = [];
  let free = 0;
  while (starts.length < 12) {
    const before = await databaseTime();
    const answers = await Promise.all([claim(["a"], 3), claim(["a"], 3)]);
    const after = await databaseTime();
    const jobs = answers.flatMap((answer) => answer.jobs);
    free += jobs.filter(({ tenantId }) => tenantId === "free").length;
    const limited = jobs.filter(({ tenantId }) => tenantId === "t");
    starts.push(...limited.map(() => ({ before, after })));
    await settle(jobs);
  }
  expect(free).toBe(5);
  const apart = starts.slice(4).map((fifth, place) => fifth.after - (starts[place]?.before ?? 0));
  expect(Math.min(...apart)).toBeGreaterThanOrEqual(1_000);
});

test("a claim that was held up counts what others started meanwhile, and its own as of now", async () => {
  await insert("a", "t", 30);
  await operator.limit({ tenantId: "t" }, { rate: { jobs: 4, periodMs: 10_000 } });
  // The clock of a transaction stands still from its first statement on, as that of a statement that waits does.
  const client = await database.pool.connect();
  try {
    await client.query(`BEGIN`);
    const heldUp = createJobStore(toSqlClient(client));
    await sleep(1_100);
    expect((await claim(["a"], 3)).jobs).toHaveLength(3);
    const request = { lane: "stable", leaseMs: 30_000, owner: "late", types: ["a"] } as const;
    expect((await heldUp.claim({ ...request, limit: 3 })).jobs).toHaveLength(1);
    expect((await heldUp.claim({ ...request, limit: 3 })).jobs).toHaveLength(0);
    await client.query(`COMMIT`);
  } finally {
    client.release();
  }
  expect((await claim(["a"], 3)).jobs).toHaveLength(0);
});

test("what runs when a cap is set counts, and a retry or an expired lease does not count twice", async () => {
  await insert("a", "t", 5);
  const [first] = (await claim(["a"], 2)).jobs;
  await operator.limit({ tenantId: "t" }, { maxRunning: 3 });
  expect((await claim(["a"], 5)).jobs).toHaveLength(1);
  expect(await claim(["a"], 5)).toMatchObject({ jobs: [], throttled: true });
  await database.pool.query(
    `UPDATE evenkeel.background_job SET lease_expires_at = now() - interval '1 second' WHERE id = $1`,
    [first?.id],
  );
  const again = (await claim(["a"], 5)).jobs;
  expect(again.map(({ id }) => id)).toEqual([first?.id]);
  const error = { code: "x", message: "x" };
  await ledger.jobs.settle(
    again.map(({ id, fence }) => ({ id, fence, kind: "retry", delayMs: 0, error })),
  );
  expect((await claim(["a"], 5)).jobs).toHaveLength(1);
  expect((await claim(["a"], 5)).jobs).toEqual([]);
  await operator.limit({ tenantId: "t" }, { maxRunning: null });
  expect((await claim(["a"], 5)).jobs).toHaveLength(2);
});

test("a job that a new cap could not count, as it was being claimed or renewed, counts from its heartbeat on", async () => {
  await insert("a", "t", 4);
  const [first] = (await claim(["a"], 1)).jobs;
  const client = await database.pool.connect();
  await client.query("BEGIN");
  const slow = createJobStore(toSqlClient(client));
  await slow.heartbeat([{ id: first?.id ?? "", fence: first?.fence ?? "" }], 30_000);
  const request = { lane: "stable", leaseMs: 30_000, owner: "o", types: ["a"], limit: 1 } as const;
  const [second] = (await slow.claim(request)).jobs;
  await operator.limit({ type: "a" }, { maxRunning: 2 });
  await client.query("COMMIT");
  client.release();
  await ledger.jobs.heartbeat(
    [first, second].flatMap((job) => job ?? []),
    30_000,
  );
  expect(await claim(["a"], 1)).toMatchObject({ jobs: [], throttled: true });
  await settle([first, second].flatMap((job) => job ?? []));
  expect((await claim(["a"], 4)).jobs).toHaveLength(2);
});

test("what caps hold back is told, however many tenants a claim walks past after them", async () => {
  const scheduled = { delayMs: 3_600_000 };
  const job = { type: "a", version: 1, payloadText: "{}", lane: "stable", maxAttempts: 3 } as const;
  const full = Array.from({ length: 2_000 }, (_, n) => ({ ...job, tenantId: `a${10_000 + n}` }));
  await ledger.jobs.insert(undefined, full);
  await claim(["a"], 2_000);
  await operator.limit("every-tenant", { maxRunning: 1 });
  await ledger.jobs.insert(undefined, full);
  await insert("a", "z", 1, scheduled);
  // Every tenant gets its row at the first claim under the limit.
  await database.pool.query(
    `INSERT INTO evenkeel.background_job_limit (kind, subject)
     SELECT DISTINCT 'TENANT'::evenkeel.job_limit_kind, tenant_id FROM evenkeel.background_job`,
  );
  const request = { lane: "stable", leaseMs: 30_000, owner: "o", types: ["a"], limit: 10 } as const;
  expect(await ledger.jobs.claim({ ...request, afterTenant: "" })).toMatchObject({
    jobs: [],
    throttled: true,
  });
});

test("decisions are listed, audited and checked", async () => {
  const type = randomUUID();
  await operator.limit({ type }, { maxRunning: 2 }, { reason: "a slow provider" });
  await operator.pause({ type });
  await operator.limit("every-tenant", { rate: { jobs: 10, periodMs: 60_000 } });
  await operator.pause("queue");
  await operator.resume("queue");
  expect(await operator.limits()).toMatchObject([
    { kind: "EVERY_TENANT", subject: "", rate: { jobs: 10, periodMs: 60_000 } },
    { kind: "TYPE", subject: type, paused: true, pausedBy: "night", maxRunning: 2, rate: null },
  ]);
  const audit = await ledger.asOperator("night").audit({ subjectId: type });
  expect(audit.map(({ action, after }) => ({ action, after }))).toMatchObject([
    { action: "queue.pause", after: { paused: true, maxRunning: 2 } },
    { action: "queue.limit", after: { paused: false, maxRunning: 2 } },
  ]);
  for (const wrong of [
    { maxRunning: 0 },
    { maxRunning: 1.5 },
    { rate: { jobs: 1, periodMs: 10 } },
  ]) {
    await expect(operator.limit({ tenantId: "t" }, wrong)).rejects.toThrow(/Not a limit/u);
  }
  await expect(
    operator.limit({ type }, { rate: { jobs: 1, periodMs: 1_000 } }),
  ).rejects.toMatchObject({ code: "invalid_limit" });
});
