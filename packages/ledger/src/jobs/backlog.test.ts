import { randomUUID } from "node:crypto";

import { createTestDatabase } from "@evenkeel/test-postgres/testing";
import { afterAll, beforeAll, expect, test } from "vitest";

import { createLedger } from "../ledger.ts";
import { newJob, openJobQueue, type JobQueue } from "../testing/job-queue.ts";
import type { Settlement } from "./job.ts";

let queue: JobQueue;
beforeAll(async () => {
  queue = await openJobQueue();
});
afterAll(() => queue.close());

test("a lane's jobs are claimed, and counted as due, in that lane only", async () => {
  const type = randomUUID();
  await queue.ledger.jobs.insert(undefined, [newJob(type, { lane: "canary" })]);
  expect((await queue.claim([type], 10)).jobs).toEqual([]);
  expect(await queue.ledger.jobs.hasDue({ lane: "stable", types: [type] })).toBe(false);
  expect(await queue.ledger.jobs.hasDue({ lane: "canary", types: [type] })).toBe(true);
  expect((await queue.claim([type], 10, { lane: "canary" })).jobs).toHaveLength(1);
  await queue.moveTime(type, "lease_expires_at");
  expect((await queue.claim([type], 10)).jobs).toEqual([]);
  expect(await queue.ledger.jobs.hasDue({ lane: "stable", types: [type] })).toBe(false);
  expect((await queue.claim([type], 10, { lane: "canary" })).jobs).toHaveLength(1);
});

test("work is due when its time has come or its lease has expired, and not before", async () => {
  const type = randomUUID();
  const scope = { lane: "stable", types: [type] } as const;
  expect(await queue.ledger.jobs.hasDue({ lane: "stable", types: [] })).toBe(false);
  expect(await queue.ledger.jobs.hasDue(scope)).toBe(false);
  await queue.ledger.jobs.insert(undefined, [newJob(type, { delayMs: 3_600_000 })]);
  expect(await queue.ledger.jobs.hasDue(scope)).toBe(false);
  await queue.moveTime(type, "run_at");
  expect(await queue.ledger.jobs.hasDue(scope)).toBe(true);
  await queue.claimFirst(type);
  expect(await queue.ledger.jobs.hasDue(scope)).toBe(false);
  await queue.moveTime(type, "lease_expires_at");
  expect(await queue.ledger.jobs.hasDue(scope)).toBe(true);
});

test("jobs of unknown types are counted, pending or left behind, and not touched", async () => {
  const known = randomUUID();
  const strange = randomUUID();
  await queue.ledger.jobs.insert(
    undefined,
    [known, strange, strange, strange].map((type) => newJob(type)),
  );
  await queue.claimFirst(strange);
  const countOf = async (types: readonly string[]): Promise<(string | number)[][]> => {
    const counts = await queue.ledger.jobs.unknownTypes({ lane: "stable", types });
    return counts.flatMap(({ type, count }) =>
      type === known || type === strange ? [[type, count]] : [],
    );
  };
  // What runs elsewhere is known there.
  expect(await countOf([known])).toEqual([[strange, 2]]);
  await queue.moveTime(strange, "lease_expires_at");
  const before = await queue.rowsOf("background_job", strange);
  expect(await countOf([known])).toEqual([[strange, 3]]);
  expect(await countOf([known, strange])).toEqual([]);
  expect((await queue.claim([known], 10)).jobs).toHaveLength(1);
  expect(await queue.rowsOf("background_job", strange)).toEqual(before);
  expect(await queue.ledger.jobs.unknownTypes({ lane: "canary", types: [] })).toEqual([]);
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
