import { randomUUID } from "node:crypto";

import { allBuckets, bucketOf } from "@evenkeel/core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { createLedger } from "../../ledger.ts";
import { claimRequest } from "../../testing/job-queue.ts";
import { setup, type Setup } from "../../testing/setup.ts";

let t: Setup;
beforeAll(async () => {
  t = await setup();
});
afterAll(() => t.close());

/** What a claim of a host that has just come up brings of a type. */
async function claimAnew(type: string, limit = 10): Promise<readonly string[]> {
  const { jobs } = createLedger({ pool: t.database.pool });
  return (await jobs.claim(claimRequest([type], limit))).jobs.map(({ tenantId }) => tenantId);
}

async function statesOf(type: string): Promise<readonly string[]> {
  const rows = await t.rowsOf<{ state: string }>("background_job", type);
  return rows.map(({ state }) => state);
}

test("a job for later is scheduled, and claimed once it is due", async () => {
  const type = randomUUID();
  await t.insert(type, "t", 1, { delayMs: 60_000 });
  expect(await statesOf(type)).toEqual(["SCHEDULED"]);
  expect((await t.claim([type], 1)).jobs).toEqual([]);
  await t.moveTime(type, "run_at");
  expect((await t.claim([type], 1)).jobs).toHaveLength(1);
});

test("a retry is scheduled for its time, and a release is available at once", async () => {
  const type = randomUUID();
  await t.insert(type, "t", 1);
  const first = await t.claimFirst(type);
  const error = { code: "x", message: "x" };
  await t.ledger.jobs.settle([{ ...first, kind: "retry", delayMs: 60_000, error }]);
  expect(await statesOf(type)).toEqual(["SCHEDULED"]);
  await t.moveTime(type, "run_at");
  const second = await t.claimFirst(type);
  expect(second.attempt).toBe(2);
  await t.ledger.jobs.settle([{ ...second, kind: "released" }]);
  expect(await statesOf(type)).toEqual(["PENDING"]);
});

test("however many jobs fall due at once, claims find all of them", async () => {
  const type = randomUUID();
  await t.insert(type, "many", 4_000, { delayMs: 3_600_000 });
  await t.insert(type, "one", 1, { delayMs: 3_600_000 });
  await t.moveTime(type, "run_at");
  let count = 0;
  for (;;) {
    const { jobs } = await t.claim([type], 500);
    count += jobs.length;
    if (jobs.length === 0) break;
    await t.ledger.jobs.settle(jobs.map((job) => ({ ...job, kind: "succeeded" })));
  }
  expect(count).toBe(4_001);
});

test("what was only held when its worker died goes back as it was; what had started lost an attempt and a worker", async () => {
  const type = randomUUID();
  await t.insert(type, "t", 2);
  const { jobs } = await t.ledger.jobs.claim(claimRequest([type], 2));
  const [started, held] = jobs;
  if (started === undefined || held === undefined) throw new Error("Nothing was claimed.");
  expect(await t.ledger.jobs.start([started])).toEqual(new Set([started.id]));
  await t.moveTime(type, "lease_expires_at");
  const again = (await t.ledger.jobs.claim(claimRequest([type], 2))).jobs;
  expect(again.find(({ id }) => id === held.id)).toMatchObject({
    attempt: 1,
    crashes: 0,
    errors: [],
  });
  expect(again.find(({ id }) => id === started.id)).toMatchObject({
    attempt: 2,
    crashes: 1,
    errors: [{ code: "lease_expired", attempt: 1 }],
  });
});

test("a start counts once, and only for the claim that holds the job", async () => {
  const type = randomUUID();
  await t.insert(type, "t", 1);
  const [job] = (await t.ledger.jobs.claim(claimRequest([type], 1))).jobs;
  if (job === undefined) throw new Error("Nothing was claimed.");
  const store = t.ledger.jobs;
  expect(await store.start([{ id: job.id, fence: "0" }])).toEqual(new Set());
  expect(await store.start([job])).toEqual(new Set([job.id]));
  expect(await store.start([job])).toEqual(new Set([job.id]));
  expect(await t.rowsOf("background_job", type)).toMatchObject([{ attempt: 1 }]);
  await store.settle([{ ...job, kind: "released" }]);
  expect(await t.rowsOf("background_job", type)).toMatchObject([{ attempt: 0 }]);
  expect(await store.start([job])).toEqual(new Set());
});

test("what is released without a start keeps its count", async () => {
  const type = randomUUID();
  await t.insert(type, "t", 1);
  const error = { code: "x", message: "x" };
  const first = await t.claimFirst(type);
  await t.ledger.jobs.settle([{ ...first, kind: "retry", delayMs: 0, error }]);
  const [held] = (await t.ledger.jobs.claim(claimRequest([type], 1))).jobs;
  if (held === undefined) throw new Error("Nothing was claimed.");
  await t.ledger.jobs.settle([{ ...held, kind: "released", hasRun: false }]);
  expect(await t.rowsOf("background_job", type)).toMatchObject([{ attempt: 1 }]);
});

test("a host that knows an older version leaves newer jobs as they are, and claims what it knows", async () => {
  const type = randomUUID();
  await t.insert(type, "t", 2, { version: 2 });
  await t.insert(type, "t", 1, { version: 1 });
  const { jobs } = await t.claim([type], 10, { versions: { [type]: 1 } });
  expect(jobs).toMatchObject([{ version: 1 }]);
  await t.ledger.jobs.settle(jobs.map((job) => ({ ...job, kind: "succeeded" })));
  expect(await t.ledger.jobs.hasDue({ types: [type], versions: { [type]: 1 } })).toBe(false);
  expect(await t.ledger.jobs.hasDue({ types: [type] })).toBe(true);
  expect(await t.rowsOf("background_job", type)).toMatchObject([
    { state: "PENDING", fence: expect.stringMatching(/000$/u) },
    { state: "PENDING", fence: expect.stringMatching(/000$/u) },
  ]);
  const newer = await t.claim([type], 10, { versions: { [type]: 2 } });
  expect(newer.jobs).toHaveLength(2);
});

test("a scheduled job of a newer version stays scheduled until a host comes that knows it", async () => {
  const type = randomUUID();
  await t.insert(type, "t", 1, { version: 2, delayMs: 60_000 });
  await t.moveTime(type, "run_at");
  expect((await t.claim([type], 1, { versions: { [type]: 1 } })).jobs).toEqual([]);
  expect(await statesOf(type)).toEqual(["SCHEDULED"]);
  expect((await t.claim([type], 1, { versions: { [type]: 2 } })).jobs).toHaveLength(1);
});

test("jobs of types that no host knows are set aside, and claimed by the first that does", async () => {
  const [known, unknown] = [randomUUID(), randomUUID()];
  await t.insert(unknown, "t", 2_500);
  await t.insert(known, "t", 1);
  expect(await t.ledger.jobs.unknownTypes({ types: [known] })).toContainEqual({
    type: unknown,
    count: 2_500,
  });
  expect(new Set(await statesOf(unknown))).toEqual(new Set(["SCHEDULED"]));
  expect(await statesOf(known)).toEqual(["PENDING"]);
  expect(await claimAnew(unknown, 3_000)).not.toEqual([]);
});

test("jobs of a type that some host serves are nobody else's to set aside", async () => {
  const [mine, others] = [randomUUID(), randomUUID()];
  await t.insert(others, "t", 5);
  const { jobs } = createLedger({ pool: t.database.pool });
  await jobs.claim(claimRequest([others], 1));
  expect(
    (await t.ledger.jobs.unknownTypes({ types: [mine] })).map(({ type }) => type),
  ).not.toContain(others);
  expect((await statesOf(others)).toSorted()).toEqual([...Array(4).fill("PENDING"), "RUNNING"]);
});

test("a claim of a range of buckets takes its tenants and no others; the database counts buckets alike", async () => {
  const type = randomUUID();
  const tenants = Array.from({ length: 40 }, (_, n) => `tenant ${n} é`);
  for (const tenant of tenants) await t.insert(type, tenant, 1);
  const canary = { from: 0, to: 3_000 };
  const claimed = await t.claim([type], 100, { lane: "canary", buckets: canary });
  const expected = tenants.filter((tenant) => bucketOf(tenant) < canary.to);
  expect(claimed.jobs.map(({ tenantId }) => tenantId).toSorted()).toEqual(expected.toSorted());
  expect(expected.length).toBeGreaterThan(0);
  const rest = await t.claim([type], 100, { buckets: allBuckets });
  expect(rest.jobs).toHaveLength(tenants.length - expected.length);
  const rows = await t.rowsOf<{ lane: string; bucket: number; tenant_id: string }>(
    "background_job",
    type,
  );
  for (const { lane, bucket, tenant_id: tenant } of rows) {
    expect(bucket).toBe(bucketOf(tenant));
    expect(lane).toBe(bucket < canary.to ? "canary" : "stable");
  }
  const { rows: counted } = await t.database.pool.query(
    `SELECT count(*)::int AS count FROM evenkeel.background_job WHERE bucket <> evenkeel.bucket_of(tenant_id)`,
  );
  expect(counted).toEqual([{ count: 0 }]);
});

test("tenants that are left out get nothing, and the others all of it", async () => {
  const type = randomUUID();
  for (const tenant of ["a", 'b"{,\\', "c"]) await t.insert(type, tenant, 3);
  const { jobs } = await t.claim([type], 5, { exceptTenants: ["a", 'b"{,\\'] });
  expect(jobs.map(({ tenantId }) => tenantId)).toEqual(["c", "c", "c"]);
  const rest = await t.claim([type], 10);
  expect(rest.jobs).toHaveLength(6);
});
