import { randomUUID } from "node:crypto";

import { afterAll, beforeAll, expect, test } from "vitest";

import { createLedger } from "../ledger.ts";
import { newJob } from "../testing/job-queue.ts";
import { setup, type Setup } from "../testing/setup.ts";
import type { NewJob } from "./job.ts";

let t: Setup;
beforeAll(async () => {
  t = await setup();
});
afterAll(() => t.close());

test("two batches that share keys in opposite order do not deadlock, and keep their own order", async () => {
  const type = randomUUID();
  const store = createLedger({ pool: t.database.connect(2) }).jobs;
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
  const claimed = (await t.claim([order], 10)).jobs;
  expect(claimed.map(({ id }) => id)).toEqual(stored.map(({ id }) => id));
});

test("a unique key is free again once its job runs, and once that has ended", async () => {
  const type = randomUUID();
  const keyed = newJob(type, { uniqueKey: "k" });
  const [first] = await t.ledger.jobs.insert(undefined, [keyed]);
  expect(await t.ledger.jobs.insert(undefined, [keyed])).toEqual([
    { id: first?.id, created: false },
  ]);
  const job = await t.claimFirst(type);
  const [second] = await t.ledger.jobs.insert(undefined, [keyed]);
  expect(second?.created).toBe(true);
  await t.ledger.jobs.settle([{ ...job, kind: "cancelled" }]);
  expect(await t.ledger.jobs.insert(undefined, [keyed])).toEqual([
    { id: second?.id, created: false },
  ]);
  expect(await t.rowsOf("background_job_history", type)).toMatchObject([{ outcome: "CANCELLED" }]);
});
