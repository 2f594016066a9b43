import { randomUUID } from "node:crypto";

import { bucketOf } from "@evenkeel/core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { newJob } from "../testing/job-queue.ts";
import { setup, type Setup } from "../testing/setup.ts";
import type { Settlement } from "./job.ts";

let t: Setup;
beforeAll(async () => {
  t = await setup();
});
afterAll(() => t.close());

test("a lane's tenants are claimed, and counted as due, in that lane only", async () => {
  const type = randomUUID();
  const tenant = "canary-bird";
  const bucket = bucketOf(tenant);
  const [canary, stable] = [
    { from: bucket, to: bucket + 1 },
    { from: 0, to: bucket },
  ];
  await t.insert(type, tenant, 1);
  expect((await t.claim([type], 10, { buckets: stable })).jobs).toEqual([]);
  expect(await t.ledger.jobs.hasDue({ types: [type], buckets: stable })).toBe(false);
  expect(await t.ledger.jobs.hasDue({ types: [type], buckets: canary })).toBe(true);
  const request = { lane: "canary", buckets: canary } as const;
  expect((await t.claim([type], 10, request)).jobs).toHaveLength(1);
  await t.moveTime(type, "lease_expires_at");
  // A rollback is a claim of another range: no row changes for it.
  expect((await t.claim([type], 10)).jobs).toHaveLength(1);
});

test("work is due when its time has come or its lease has expired, and not before", async () => {
  const type = randomUUID();
  const scope = { types: [type] };
  expect(await t.ledger.jobs.hasDue({ types: [] })).toBe(false);
  expect(await t.ledger.jobs.hasDue(scope)).toBe(false);
  await t.ledger.jobs.insert(undefined, [newJob(type, { delayMs: 3_600_000 })]);
  expect(await t.ledger.jobs.hasDue(scope)).toBe(false);
  await t.moveTime(type, "run_at");
  expect(await t.ledger.jobs.hasDue(scope)).toBe(true);
  await t.claimFirst(type);
  expect(await t.ledger.jobs.hasDue(scope)).toBe(false);
  await t.moveTime(type, "lease_expires_at");
  expect(await t.ledger.jobs.hasDue(scope)).toBe(true);
});

test("jobs of unknown types are counted, wherever they wait, unless another host serves them", async () => {
  const [known, strange, served] = [randomUUID(), randomUUID(), randomUUID()];
  await t.ledger.jobs.insert(
    undefined,
    [known, strange, strange, strange, served, served].map((type) => newJob(type)),
  );
  await t.ledger.jobs.insert(undefined, [newJob(strange, { delayMs: 3_600_000 })]);
  await t.claimFirst(served);
  const ours = new Set<string>([known, strange, served]);
  const countOf = async (types: readonly string[]): Promise<(string | number)[][]> => {
    const counts = await t.ledger.jobs.unknownTypes({ types });
    return counts.flatMap(({ type, count }) => (ours.has(type) ? [[type, count]] : []));
  };
  expect(await countOf([known])).toEqual([[strange, 3]]);
  expect(await countOf([known, strange])).toEqual([]);
  expect((await t.claim([known], 10)).jobs).toHaveLength(1);
  expect(await t.rowsOf("background_job", strange)).toMatchObject(
    Array.from({ length: 4 }, () => ({
      attempt: 0,
      fence: expect.stringMatching(/000$/u),
      crashes: 0,
    })),
  );
  expect((await t.claim([strange], 10)).jobs).toHaveLength(3);
});

test("the counts say how many jobs are in which state", async () => {
  await using own = await setup();
  const { jobs } = own.ledger;
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
  await jobs.start(claimed);
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
});
