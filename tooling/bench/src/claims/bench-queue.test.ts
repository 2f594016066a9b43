import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import { afterEach, beforeEach, expect, test } from "vitest";

import { benchType, openBenchQueue, type BenchQueue } from "./bench-queue.ts";
import { timeClaims, toFigures } from "./claim-times.ts";

let database: TestDatabase;
let queue: BenchQueue;
beforeEach(async () => {
  database = await createTestDatabase();
  queue = await openBenchQueue(database.databaseUrl);
});
afterEach(async () => {
  await queue.close();
  await database.drop();
});

const types = [benchType];

test("what was released is claimed again, and what succeeded is not", async () => {
  await queue.enqueue({ tenantOf: (n) => `tenant-${n % 2}`, count: 4 });
  const first = await queue.claim({ types, limit: 10 });
  expect(first.jobs.map(({ tenantId }) => tenantId).toSorted()).toEqual([
    "tenant-0",
    "tenant-0",
    "tenant-1",
    "tenant-1",
  ]);
  await queue.release(first.jobs);
  const { jobs } = await queue.claim({ types, limit: 10, afterTenant: first.lastTenant });
  expect(jobs).toHaveLength(4);
  await queue.start?.(jobs);
  await queue.succeed(jobs);
  expect((await queue.claim({ types, limit: 10 })).jobs).toEqual([]);
  await expect(queue.succeed(jobs)).rejects.toThrow("0 of 4 jobs were succeeded");
});

test("a claim gets what is due, of the types asked for, within the caps", async () => {
  await queue.enqueue({ tenantOf: () => "a", count: 4, typeOf: (n) => (n < 3 ? benchType : "b") });
  const runAtOf = (): Date => new Date(Date.now() + 86_400_000);
  await queue.enqueue({ tenantOf: () => "later", count: 1, runAtOf });
  await queue.cap("a", 2);
  const { jobs } = await queue.claim({ types, limit: 10 });
  expect(jobs.map(({ tenantId }) => tenantId)).toEqual(["a", "a"]);
});

test("every timed claim meets the same work, and one that is not full is counted", async () => {
  await queue.enqueue({ tenantOf: (n) => `tenant-${n % 3}`, count: 6 });
  await queue.settleDown();
  const subjects = [{ name: "few", queue, types }];
  const [full] = await timeClaims(subjects, { limits: [6, 3], until: { samples: 4 } });
  expect(full).toMatchObject({ notFull: 0 });
  expect(full?.times).toHaveLength(4);
  const [short = { times: [], notFull: 0 }] = await timeClaims(subjects, {
    limits: [7],
    until: { samples: 2 },
  });
  expect(toFigures("few", short)).toMatchObject([
    { name: "few: claim p50, ms" },
    { name: "few: claim p95, ms" },
    { name: "few: claims not full", value: 2 },
  ]);
});
