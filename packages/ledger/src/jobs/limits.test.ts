import { setTimeout as sleep } from "node:timers/promises";

import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";

import { toSqlClient } from "../database/database.ts";
import { createLedger } from "../ledger.ts";
import { claimRequest } from "../testing/job-queue.ts";
import { setup, type Setup } from "../testing/setup.ts";
import { createJobStore } from "./job-store.ts";
import type { ClaimedJob } from "./job.ts";
import type { OperatorQueue } from "./queue-controls.ts";

let t: Setup;
let operator: OperatorQueue;
beforeAll(async () => {
  t = await setup();
  operator = t.ledger.asOperator("night").queue;
});
beforeEach(async () => {
  await t.database.pool.query(
    `TRUNCATE evenkeel.background_job, evenkeel.background_job_limit, evenkeel.background_job_rotation`,
  );
});
afterAll(() => t.close());

async function settle(jobs: readonly ClaimedJob[]): Promise<void> {
  await t.ledger.jobs.settle(jobs.map(({ id, fence }) => ({ id, fence, kind: "succeeded" })));
}

async function isDue(types: readonly string[]): Promise<boolean> {
  return t.ledger.jobs.hasDue({ types });
}

/** Milliseconds since 1970, by the database's clock. */
async function databaseTime(): Promise<number> {
  const { rows } = await t.database.pool.query<{ at: number }>(
    `SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS at`,
  );
  return rows[0]?.at ?? 0;
}

test("caps of types and tenants hold under any mix of claims at once, and let everything through", async () => {
  const cap = fc.option(fc.integer({ min: 1, max: 4 }), { nil: null });
  const world = fc.record({
    counts: fc.array(fc.integer({ min: 1, max: 8 }), { minLength: 1, maxLength: 4 }),
    typeCap: cap,
    everyTenant: cap,
    oneTenant: cap,
    limit: fc.integer({ min: 1, max: 8 }),
  });
  const others = [1, 2, 3].map(() => createLedger({ pool: t.database.connect(1) }));
  await fc.assert(
    fc.asyncProperty(world, async ({ counts, typeCap, everyTenant, oneTenant, limit }) => {
      await t.database.pool.query(
        `TRUNCATE evenkeel.background_job, evenkeel.background_job_limit, evenkeel.background_job_rotation`,
      );
      await operator.limit({ type: "a" }, { maxRunning: typeCap });
      await operator.limit("every-tenant", { maxRunning: everyTenant });
      await operator.limit({ tenantId: "t0" }, { maxRunning: oneTenant });
      let left = 0;
      for (const [tenant, count] of counts.entries()) {
        await t.insert(tenant % 2 === 0 ? "a" : "b", `t${tenant}`, count);
        await t.insert("a", `t${tenant}`, 1);
        left += count + 1;
      }
      const running = new Map<string, ClaimedJob>();
      const capOf = (tenantId: string): number =>
        (tenantId === "t0" ? (oneTenant ?? everyTenant) : everyTenant) ?? Infinity;
      while (left > 0) {
        const claims = await Promise.all(
          others.map((from) => from.jobs.claim(claimRequest(["a", "b"], limit))),
        );
        const claimed = claims.flatMap(({ jobs }) => jobs);
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

test("a claim that does not get a type's row locks no tenant's, which would keep others from claiming", async () => {
  await operator.limit({ type: "a" }, { maxRunning: 1 });
  await operator.limit({ tenantId: "t" }, { maxRunning: 1 });
  await t.insert("a", "t", 1);
  const [other, late] = [await t.database.pool.connect(), await t.database.pool.connect()] as const;
  const locked = async (): Promise<number> => {
    const { rows } = await t.database.pool.query(
      `SELECT FROM evenkeel.background_job_limit WHERE kind = 'TENANT' FOR UPDATE SKIP LOCKED`,
    );
    return 1 - rows.length;
  };
  try {
    await other.query("BEGIN");
    await other.query(`SELECT FROM evenkeel.background_job_limit WHERE kind = 'TYPE' FOR UPDATE`);
    await late.query("BEGIN");
    const claim = createJobStore(toSqlClient(late)).claim(claimRequest(["a"], 1));
    expect(await claim).toMatchObject({ jobs: [], throttled: true });
    expect(await locked()).toBe(0);
  } finally {
    other.release(true);
    late.release(true);
  }
  expect((await t.claim(["a"], 1)).jobs).toHaveLength(1);
});

test("a type's cap leaves every tenant its turn", async () => {
  await t.insert("a", "big", 50);
  for (const tenant of ["b", "c", "z"]) await t.insert("a", tenant, 1);
  await operator.limit({ type: "a" }, { maxRunning: 1 });
  await t.insert("other", "big", 50);
  const served: string[] = [];
  for (let turn = 0; turn < 8; turn += 1) {
    const { jobs } = await t.claim(["a", "other"], 4);
    served.push(...jobs.filter(({ type }) => type === "a").map(({ tenantId }) => tenantId));
    await settle(jobs);
  }
  expect(served.slice(0, 4).toSorted()).toEqual(["b", "big", "c", "z"]);
});

test("a rate lets no more start in any period, and the rest later", async () => {
  await t.insert("a", "t", 30);
  await t.insert("a", "free", 5);
  await operator.limit({ tenantId: "t" }, { rate: { jobs: 4, periodMs: 1_000 } });
  // Each start fell between the time before its claim and the time after it.
  const starts: { before: number; after: number }[] = [];
  let free = 0;
  while (starts.length < 12) {
    const before = await databaseTime();
    const claims = await Promise.all([t.claim(["a"], 3), t.claim(["a"], 3)]);
    const after = await databaseTime();
    const jobs = claims.flatMap((claim) => claim.jobs);
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
  await t.insert("a", "t", 30);
  await operator.limit({ tenantId: "t" }, { rate: { jobs: 4, periodMs: 10_000 } });
  // The clock of a transaction stands still from its first statement on, as that of a statement that waits does.
  const client = await t.database.pool.connect();
  try {
    await client.query(`BEGIN`);
    const heldUp = createJobStore(toSqlClient(client));
    await sleep(1_100);
    expect((await t.claim(["a"], 3)).jobs).toHaveLength(3);
    const request = { lane: "stable", leaseMs: 30_000, owner: "late", types: ["a"] } as const;
    expect((await heldUp.claim({ ...request, limit: 3 })).jobs).toHaveLength(1);
    expect((await heldUp.claim({ ...request, limit: 3 })).jobs).toHaveLength(0);
    await client.query(`COMMIT`);
  } finally {
    client.release();
  }
  expect((await t.claim(["a"], 3)).jobs).toHaveLength(0);
});

test("what runs when a cap is set counts, and a retry or an expired lease does not count twice", async () => {
  await t.insert("a", "t", 5);
  const [first] = (await t.claim(["a"], 2)).jobs;
  await operator.limit({ tenantId: "t" }, { maxRunning: 3 });
  expect((await t.claim(["a"], 5)).jobs).toHaveLength(1);
  expect(await t.claim(["a"], 5)).toMatchObject({ jobs: [], throttled: true });
  await t.database.pool.query(
    `UPDATE evenkeel.background_job SET lease_expires_at = now() - interval '1 second' WHERE id = $1`,
    [first?.id],
  );
  const again = (await t.claim(["a"], 5)).jobs;
  expect(again.map(({ id }) => id)).toEqual([first?.id]);
  const error = { code: "x", message: "x" };
  await t.ledger.jobs.settle(
    again.map(({ id, fence }) => ({ id, fence, kind: "retry", delayMs: 0, error })),
  );
  expect((await t.claim(["a"], 5)).jobs).toHaveLength(1);
  expect((await t.claim(["a"], 5)).jobs).toEqual([]);
  await operator.limit({ tenantId: "t" }, { maxRunning: null });
  expect((await t.claim(["a"], 5)).jobs).toHaveLength(2);
});

test("a job that a new cap could not count, as it was being claimed or renewed, counts from its heartbeat on", async () => {
  await t.insert("a", "t", 4);
  const [first] = (await t.claim(["a"], 1)).jobs;
  const client = await t.database.pool.connect();
  await client.query("BEGIN");
  const slow = createJobStore(toSqlClient(client));
  await slow.heartbeat([{ id: first?.id ?? "", fence: first?.fence ?? "" }], 30_000);
  const request = { lane: "stable", leaseMs: 30_000, owner: "o", types: ["a"], limit: 1 } as const;
  const [second] = (await slow.claim(request)).jobs;
  await operator.limit({ type: "a" }, { maxRunning: 2 });
  await client.query("COMMIT");
  client.release();
  await t.ledger.jobs.heartbeat(
    [first, second].flatMap((job) => job ?? []),
    30_000,
  );
  expect(await t.claim(["a"], 1)).toMatchObject({ jobs: [], throttled: true });
  await settle([first, second].flatMap((job) => job ?? []));
  expect((await t.claim(["a"], 4)).jobs).toHaveLength(2);
});

test("what caps throttle is told, however many tenants a claim passes after them", async () => {
  const scheduled = { delayMs: 3_600_000 };
  const job = { type: "a", version: 1, payloadText: "{}", maxAttempts: 3 } as const;
  const full = Array.from({ length: 2_000 }, (_, n) => ({ ...job, tenantId: `a${10_000 + n}` }));
  await t.ledger.jobs.insert(undefined, full);
  await t.claim(["a"], 2_000);
  await operator.limit("every-tenant", { maxRunning: 1 });
  await t.ledger.jobs.insert(undefined, full);
  await t.insert("a", "z", 1, scheduled);
  // Every tenant gets its row at the first claim under the limit.
  await t.database.pool.query(
    `INSERT INTO evenkeel.background_job_limit (kind, subject)
     SELECT DISTINCT 'TENANT'::evenkeel.job_limit_kind, tenant_id FROM evenkeel.background_job`,
  );
  const request = { lane: "stable", leaseMs: 30_000, owner: "o", types: ["a"], limit: 10 } as const;
  expect(await t.ledger.jobs.claim({ ...request, afterTenant: "" })).toMatchObject({
    jobs: [],
    throttled: true,
  });
});

test("a limit for every tenant that is lifted while a claim meets a tenant leaves no row", async () => {
  const { pool } = t.database;
  const sql = toSqlClient(pool);
  const store = createJobStore({
    query: async (text, values, timeoutMs) => {
      // The claim has seen the limit, and is about to give the tenant a row.
      if (text.includes("AS met (tenant)"))
        await operator.limit("every-tenant", { maxRunning: null });
      return sql.query(text, values, timeoutMs);
    },
  });
  await operator.limit("every-tenant", { maxRunning: 1 });
  await t.insert("a", "t", 2);
  const { jobs } = await store.claim(claimRequest(["a"], 5));
  expect(jobs).toHaveLength(2);
  const { rows } = await pool.query(`SELECT FROM evenkeel.background_job_limit`);
  expect(rows).toEqual([]);
});
