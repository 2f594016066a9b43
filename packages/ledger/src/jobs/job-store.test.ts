import { randomUUID } from "node:crypto";

import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import { afterAll, beforeAll, expect, test } from "vitest";

import type { ClaimedJob, ClaimRequest, NewJob, Settlement } from "./job.ts";
import { createLedger, type Ledger } from "../ledger.ts";

let database: TestDatabase;
let ledger: Ledger;
beforeAll(async () => {
  database = await createTestDatabase();
  ledger = createLedger({ pool: database.pool });
});
afterAll(async () => {
  await ledger.close();
  await database.drop();
});

/** Jobs of one test have a type of their own, so that tests share a database. */
function newJob(type: string, change: Partial<NewJob> = {}): NewJob {
  const payloadText = '{"n":1}';
  return {
    tenantId: "t",
    type,
    version: 1,
    payloadText,
    lane: "stable",
    maxAttempts: 3,
    ...change,
  };
}

async function claim(type: string, change: Partial<ClaimRequest> = {}): Promise<ClaimedJob[]> {
  const request = {
    lane: "stable",
    types: [type],
    limit: 10,
    leaseMs: 30_000,
    owner: "o",
  } as const;
  return (await ledger.jobs.claim({ ...request, ...change })).jobs;
}

async function claimById(type: string): Promise<ClaimedJob> {
  const [job] = await claim(type, { limit: 1 });
  if (job === undefined) throw new Error("Nothing was claimed.");
  return job;
}

async function moveTime(type: string, column: "lease_expires_at" | "run_at"): Promise<void> {
  await database.pool.query(
    `UPDATE evenkeel.background_job SET ${column} = now() - interval '1 second' WHERE type = $1`,
    [type],
  );
}

async function rowsOf<Row extends object>(table: string, type: string): Promise<Row[]> {
  const column = table === "background_dead_letter" ? "name" : "type";
  const { rows } = await database.pool.query<Row>(
    `SELECT * FROM evenkeel.${table} WHERE ${column} = $1`,
    [type],
  );
  return rows;
}

test("an expired lease goes to another under a higher fence, and what shows the old one is refused", async () => {
  const type = randomUUID();
  await ledger.jobs.insert(undefined, [newJob(type)]);
  const first = await claimById(type);
  expect(await claim(type)).toEqual([]);
  await moveTime(type, "lease_expires_at");
  const second = await claimById(type);
  expect(BigInt(second.fence)).toBeGreaterThan(BigInt(first.fence));
  expect(second).toMatchObject({ id: first.id, attempt: 2, errors: [{ code: "lease_expired" }] });

  const late: Settlement[] = [
    { ...first, kind: "succeeded" },
    { ...first, kind: "retry", delayMs: 0, error: { code: "x", message: "x" } },
    { ...first, kind: "snooze", delayMs: 0 },
    { ...first, kind: "released" },
    { ...first, kind: "dead", reason: "terminal", error: { code: "x", message: "x" } },
    { ...first, kind: "cancelled" },
  ];
  for (const settlement of late) expect(await ledger.jobs.settle([settlement])).toEqual(new Set());
  expect(await ledger.jobs.heartbeat([first], 30_000)).toEqual(new Set());
  expect(await ledger.jobs.heartbeat([second], 30_000)).toEqual(new Set([second.id]));
  expect(await ledger.jobs.settle([{ ...second, kind: "succeeded" }])).toEqual(
    new Set([second.id]),
  );
  expect(await ledger.jobs.settle([{ ...second, kind: "succeeded" }])).toEqual(new Set());
  expect(await rowsOf("background_job_history", type)).toMatchObject([
    { outcome: "SUCCEEDED", attempt: 2 },
  ]);
  expect(await rowsOf("background_job", type)).toEqual([]);
  expect(await rowsOf("background_dead_letter", type)).toEqual([]);
});

test("of concurrent settlements under one fence one is accepted", async () => {
  const type = randomUUID();
  await ledger.jobs.insert(undefined, [newJob(type)]);
  const job = await claimById(type);
  const error = { code: "x", message: "x" };
  const answers = await Promise.all(
    Array.from({ length: 10 }, (_, n) =>
      ledger.jobs.settle([
        n % 2 === 0
          ? { ...job, kind: "succeeded" }
          : { ...job, kind: "dead", reason: "terminal", error },
      ]),
    ),
  );
  expect(answers.filter((accepted) => accepted.size === 1)).toHaveLength(1);
  expect(await rowsOf("background_job_history", type)).toHaveLength(1);
});

test("a heartbeat keeps a lease that would have expired", async () => {
  const type = randomUUID();
  await ledger.jobs.insert(undefined, [newJob(type)]);
  const job = await claimById(type);
  await moveTime(type, "lease_expires_at");
  expect(await ledger.jobs.heartbeat([job], 30_000)).toEqual(new Set([job.id]));
  expect(await claim(type)).toEqual([]);
});

test("a retry counts its attempt and waits; a snooze and a release give theirs back", async () => {
  const type = randomUUID();
  await ledger.jobs.insert(undefined, [newJob(type)]);
  const error = { code: "x", message: "postgresql://app:hunter2@db failed" };
  await ledger.jobs.settle([{ ...(await claimById(type)), kind: "retry", delayMs: 60_000, error }]);
  expect(await claim(type)).toEqual([]);
  expect(await rowsOf("background_job", type)).toMatchObject([
    { state: "PENDING", attempt: 1, owner: null, lease_expires_at: null },
  ]);
  await moveTime(type, "run_at");
  await ledger.jobs.settle([{ ...(await claimById(type)), kind: "snooze", delayMs: 60_000 }]);
  expect(await claim(type)).toEqual([]);
  await moveTime(type, "run_at");
  await ledger.jobs.settle([{ ...(await claimById(type)), kind: "released" }]);
  const job = await claimById(type);
  expect(job).toMatchObject({ attempt: 2, errors: [{ attempt: 1, code: "x" }] });
  expect(JSON.stringify(job.errors)).not.toContain("hunter2");
});

test("the errors of the last 20 attempts are kept", async () => {
  const type = randomUUID();
  await ledger.jobs.insert(undefined, [newJob(type, { maxAttempts: 30 })]);
  for (let attempt = 1; attempt <= 23; attempt += 1) {
    const job = await claimById(type);
    const error = { code: "x", message: `attempt ${attempt}` };
    await ledger.jobs.settle([{ ...job, kind: "retry", delayMs: 0, error }]);
    await moveTime(type, "run_at");
  }
  const { errors } = await claimById(type);
  expect(errors).toHaveLength(20);
  expect(errors.map(({ attempt }) => attempt)).toEqual(Array.from({ length: 20 }, (_, n) => n + 4));
});

test("a dead job leaves a letter with its reason, payload and history", async () => {
  const type = randomUUID();
  await ledger.jobs.insert(undefined, [newJob(type, { tenantId: "acme" })]);
  const job = await claimById(type);
  const error = { code: "E_CLOSED", message: "The mailbox was closed." };
  await ledger.jobs.settle([{ ...job, kind: "dead", reason: "terminal", error }]);
  expect(await rowsOf("background_dead_letter", type)).toMatchObject([
    {
      kind: "JOB",
      source_id: job.id,
      tenant_id: "acme",
      reason: "terminal",
      error: "The mailbox was closed.",
      payload: { n: 1 },
      history: [{ attempt: 1, code: "E_CLOSED" }],
      status: "OPEN",
    },
  ]);
});

test("a result that cannot be kept is dropped, and the job has succeeded all the same", async () => {
  const type = randomUUID();
  const results = [
    { kept: true },
    "x".repeat(64 * 1024),
    10n,
    "NUL \u0000",
    () => 1,
    null,
    undefined,
  ];
  await ledger.jobs.insert(
    undefined,
    results.map(() => newJob(type)),
  );
  const jobs = await claim(type);
  const accepted = await ledger.jobs.settle(
    jobs.map((job, place) => ({ ...job, kind: "succeeded", result: results[place] })),
  );
  expect(accepted.size).toBe(results.length);
  const rows = await rowsOf<{ result: unknown }>("background_job_history", type);
  expect(rows.filter(({ result }) => result !== null)).toMatchObject([{ result: { kept: true } }]);
  expect(rows).toHaveLength(results.length);
});

test("two batches that share keys in opposite order do not deadlock, and keep their own order", async () => {
  const type = randomUUID();
  const store = createLedger({ pool: database.connect(2) }).jobs;
  for (let round = 0; round < 10; round += 1) {
    const keys = Array.from({ length: 300 }, (_, n) => `${round}-${n}`);
    const toJob = (uniqueKey: string): NewJob => newJob(type, { uniqueKey });
    const [forth, back] = await Promise.all([
      store.insert(undefined, keys.map(toJob)),
      store.insert(undefined, keys.toReversed().map(toJob)),
    ]);
    expect(forth.map(({ id }) => id)).toEqual(back.toReversed().map(({ id }) => id));
    const ids = [...forth, ...back].filter(({ created }) => created).map(({ id }) => id);
    expect(new Set(ids).size).toBe(300);
    expect(ids).toHaveLength(300);
  }
  const shuffled = ["m", "z", "a", "q"];
  const order = randomUUID();
  const stored = await store.insert(
    undefined,
    shuffled.map((uniqueKey) => newJob(order, { uniqueKey })),
  );
  const claimed = await claim(order);
  expect(claimed.map(({ id }) => id)).toEqual(stored.map(({ id }) => id));
});

test("a unique key is free again once its job is settled", async () => {
  const type = randomUUID();
  const keyed = newJob(type, { uniqueKey: "k" });
  const [first] = await ledger.jobs.insert(undefined, [keyed]);
  const job = await claimById(type);
  expect(await ledger.jobs.insert(undefined, [keyed])).toEqual([{ id: first?.id, created: false }]);
  await ledger.jobs.settle([{ ...job, kind: "cancelled" }]);
  expect(await ledger.jobs.insert(undefined, [keyed])).toMatchObject([{ created: true }]);
  expect(await rowsOf("background_job_history", type)).toMatchObject([{ outcome: "CANCELLED" }]);
});

test("a lane's jobs are claimed, and counted as due, in that lane only", async () => {
  const type = randomUUID();
  await ledger.jobs.insert(undefined, [newJob(type, { lane: "canary" })]);
  expect(await claim(type)).toEqual([]);
  expect(await ledger.jobs.hasDue({ lane: "stable", types: [type] })).toBe(false);
  expect(await ledger.jobs.hasDue({ lane: "canary", types: [type] })).toBe(true);
  expect(await claim(type, { lane: "canary" })).toHaveLength(1);
  await moveTime(type, "lease_expires_at");
  expect(await claim(type)).toEqual([]);
  expect(await ledger.jobs.hasDue({ lane: "stable", types: [type] })).toBe(false);
  expect(await claim(type, { lane: "canary" })).toHaveLength(1);
});

test("work is due when its time has come or its lease has expired, and not before", async () => {
  const type = randomUUID();
  const scope = { lane: "stable", types: [type] } as const;
  expect(await ledger.jobs.hasDue({ lane: "stable", types: [] })).toBe(false);
  expect(await ledger.jobs.hasDue(scope)).toBe(false);
  await ledger.jobs.insert(undefined, [newJob(type, { delayMs: 3_600_000 })]);
  expect(await ledger.jobs.hasDue(scope)).toBe(false);
  await moveTime(type, "run_at");
  expect(await ledger.jobs.hasDue(scope)).toBe(true);
  await claimById(type);
  expect(await ledger.jobs.hasDue(scope)).toBe(false);
  await moveTime(type, "lease_expires_at");
  expect(await ledger.jobs.hasDue(scope)).toBe(true);
});

test("jobs of unknown types are counted, pending or left behind, and not touched", async () => {
  const known = randomUUID();
  const strange = randomUUID();
  await ledger.jobs.insert(
    undefined,
    [known, strange, strange, strange].map((type) => newJob(type)),
  );
  await claimById(strange);
  const countOf = async (types: readonly string[]): Promise<(string | number)[][]> => {
    const counts = await ledger.jobs.unknownTypes({ lane: "stable", types });
    return counts.flatMap(({ type, count }) =>
      type === known || type === strange ? [[type, count]] : [],
    );
  };
  // What runs elsewhere is known there.
  expect(await countOf([known])).toEqual([[strange, 2]]);
  await moveTime(strange, "lease_expires_at");
  const before = await rowsOf("background_job", strange);
  expect(await countOf([known])).toEqual([[strange, 3]]);
  expect(await countOf([known, strange])).toEqual([]);
  expect(await claim(known)).toHaveLength(1);
  expect(await rowsOf("background_job", strange)).toEqual(before);
  expect(await ledger.jobs.unknownTypes({ lane: "canary", types: [] })).toEqual([]);
});

test("the counts say how many jobs are in which state", async () => {
  const own = await createTestDatabase();
  const { jobs } = createLedger({ pool: own.pool });
  const zero = {
    due: 0,
    scheduled: 0,
    running: 0,
    succeeded: 0,
    dead: 0,
    cancelled: 0,
    retried: 0,
  };
  expect(await jobs.counts()).toEqual(zero);
  await jobs.insert(
    undefined,
    Array.from({ length: 10 }, () => newJob("a")),
  );
  await jobs.insert(undefined, [newJob("a", { delayMs: 3_600_000 })]);
  const request = { lane: "stable", types: ["a"], limit: 6, leaseMs: 30_000, owner: "o" } as const;
  const { jobs: claimed } = await jobs.claim(request);
  const error = { code: "x", message: "x" };
  const ends = [
    { kind: "succeeded" },
    { kind: "succeeded" },
    { kind: "dead", reason: "terminal", error },
    { kind: "cancelled" },
    { kind: "retry", delayMs: 3_600_000, error },
  ] as const;
  const settlements = claimed.flatMap(({ id, fence }, place): Settlement[] => {
    const end = ends[place];
    return end === undefined ? [] : [{ id, fence, ...end }];
  });
  await jobs.settle(settlements);
  expect(await jobs.counts()).toEqual({
    due: 4,
    scheduled: 2,
    running: 1,
    succeeded: 2,
    dead: 1,
    cancelled: 1,
    retried: 1,
  });
  await own.drop();
});

test("a batch of successes that names a job twice, under an old fence too, settles it once", async () => {
  const type = randomUUID();
  const job = { tenantId: "t", type, version: 1, payloadText: "{}", maxAttempts: 3 } as const;
  await ledger.jobs.insert(undefined, [{ ...job, lane: "stable" }]);
  const request = { lane: "stable", types: [type], limit: 1, leaseMs: 30_000, owner: "o" } as const;
  const [claimed] = (await ledger.jobs.claim(request)).jobs;
  const { id, fence } = claimed ?? { id: "", fence: "0" };
  const success = { id, kind: "succeeded" } as const;
  const stale = { ...success, fence: String(Number(fence) - 1), result: "stale" };
  const current = { ...success, fence, result: "current" };
  expect(await ledger.jobs.settle([stale, current, current])).toEqual(new Set([id]));
  expect(await ledger.forTenant("t").jobs.find(id)).toMatchObject({
    status: "SUCCEEDED",
    result: "current",
  });
});
