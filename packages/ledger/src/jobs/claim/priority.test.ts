import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";

import { setup, type Setup } from "../../testing/setup.ts";

let t: Setup;
beforeAll(async () => {
  t = await setup();
});
beforeEach(async () => {
  await t.database.pool.query(`TRUNCATE evenkeel.background_job`);
});
afterAll(() => t.close());

test("priority goes before what is due no more than ten minutes longer per level, and never for ever", async () => {
  const at = (minutesAgo: number): Date => new Date(Date.now() - minutesAgo * 60_000);
  await t.insert("a", "t", 1, { runAt: at(60), priority: -3 });
  await t.insert("a", "t", 1, { runAt: at(25) });
  await t.insert("b", "t", 1, { runAt: at(1), priority: 2 });
  await t.insert("a", "t", 1, { runAt: at(1), priority: 10 });
  await t.insert("b", "t", 1, { runAt: at(200) });
  await t.insert("a", "t", 1, { runAt: new Date(Date.now() + 60_000), priority: 10 });
  const order: number[] = [];
  for (let turn = 0; turn < 5; turn += 1) {
    const { jobs } = await t.claim(["a", "b"], 1);
    order.push(
      ...jobs.map(({ priority, runAt }) => priority * 10 + (Date.now() - +runAt) / 60_000),
    );
  }
  expect(order).toHaveLength(5);
  expect(order).toEqual(order.toSorted((a, b) => b - a));
  expect((await t.claim(["a", "b"], 1)).jobs).toEqual([]);
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
        await t.database.pool.query(`TRUNCATE evenkeel.background_job`);
        const base = Date.now();
        for (const { type, priority, minutesAgo } of specs) {
          await t.insert(type, "t", 1, {
            priority,
            runAt: new Date(base - minutesAgo * 60_000),
          });
        }
        const ranks: number[] = [];
        while (ranks.length < specs.length) {
          const { jobs } = await t.claim(["a", "b"], limit);
          expect(jobs).toHaveLength(Math.min(limit, specs.length - ranks.length));
          ranks.push(...jobs.map(({ priority, runAt }) => +runAt - priority * 600_000));
        }
        expect(ranks).toEqual(ranks.toSorted((a, b) => a - b));
      },
    ),
    { numRuns: 40 },
  );
});
