import { randomUUID } from "node:crypto";

import { afterAll, beforeAll, expect, test } from "vitest";

import { newJob } from "../testing/job-queue.ts";
import { setup, type Setup } from "../testing/setup.ts";

let t: Setup;
beforeAll(async () => {
  t = await setup();
});
afterAll(() => t.close());

test("the progress of held jobs is written, shown, and gone with the next claim", async () => {
  const type = randomUUID();
  await t.ledger.jobs.insert(undefined, [newJob(type)]);
  const { id, fence } = await t.claimFirst(type);
  const { jobs } = t.ledger.forTenant("t");
  await t.ledger.jobs.recordProgress([
    { id, fence, done: 2.5, total: 10 },
    { id: "999999", fence, done: 1, total: 2 },
  ]);
  const progress = { done: 2.5, total: 10, at: expect.stringMatching(/^\d{4}-.*Z$/u) };
  expect(await jobs.find(id)).toMatchObject({ progress });
  expect(await jobs.explain(id)).toMatchObject({
    progress,
    summary: expect.stringContaining("attempt 1, 2.5 of 10 done, under a lease"),
  });
  await t.moveTime(type, "lease_expires_at");
  await t.claimFirst(type);
  await t.ledger.jobs.recordProgress([{ id, fence, done: 9, total: 10 }]);
  expect(await jobs.find(id)).toMatchObject({ progress: null });
});

test("a note of progress does not wait for a row that a transaction holds", async () => {
  const type = randomUUID();
  await t.ledger.jobs.insert(undefined, [newJob(type)]);
  const { id, fence } = await t.claimFirst(type);
  const client = await t.database.connect(1).connect();
  await client.query("BEGIN");
  await client.query(`SELECT FROM evenkeel.background_job FOR UPDATE`);
  await t.ledger.jobs.recordProgress([{ id, fence, done: 1, total: 2 }]);
  await client.query("ROLLBACK");
  client.release();
  expect(await t.ledger.forTenant("t").jobs.find(id)).toMatchObject({ progress: null });
});
