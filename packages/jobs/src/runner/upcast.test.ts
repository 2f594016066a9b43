import { expect, expectTypeOf, test } from "vitest";
import { z } from "zod";

import { defineJob, type JobOptions } from "../definition/job-definition.ts";
import { handleJob } from "../definition/job-handler.ts";
import { upcaster } from "../definition/upcast.ts";
import { enqueue } from "../enqueue.ts";
import { setup } from "../testing/setup.ts";
import { createRunner } from "./runner.ts";

const type = "invoice.book";
const first = defineJob({ type, version: 1, payload: z.object({ cents: z.number() }) });
const schema = z.object({ amount: z.object({ cents: z.number(), currency: z.string() }) });
const options: JobOptions<typeof schema> = {
  type,
  version: 3,
  payload: schema,
  upcast: {
    1: (old) => ({ amount: first.payload.parse(old).cents }),
    2: (old) => ({ amount: { cents: (old as { amount: number }).amount, currency: "EUR" } }),
  },
};

test("payloads of older versions are taken to today's, step by step, before they are parsed", async () => {
  await using t = await setup();
  const { pool } = t.database;
  const second = defineJob({ type, version: 2, payload: z.object({ amount: z.number() }) });
  const third = defineJob(options);
  await enqueue(pool, first, { tenantId: "t", payload: { cents: 1 } });
  await enqueue(pool, second, { tenantId: "t", payload: { amount: 2 } });
  const today = { amount: { cents: 3, currency: "USD" } };
  await enqueue(pool, third, { tenantId: "t", payload: today });
  const seen: unknown[] = [];
  const handler = handleJob(third, async ({ payload }) => seen.push(payload));
  const runner = createRunner({ ledger: t.ledger, handlers: [handler], owner: "o" });
  expect(await runner.drain({ budgetMs: 60_000 })).toMatchObject({ succeeded: 3, dead: 0 });
  expect(seen).toEqual([
    { amount: { cents: 1, currency: "EUR" } },
    { amount: { cents: 2, currency: "EUR" } },
    today,
  ]);
});

test("an upcast that fails ends the job as one that the schema refuses, without a word of its payload", async () => {
  await using t = await setup();
  const broken = defineJob({ ...options, upcast: { 1: () => JSON.parse("secret") as unknown } });
  await enqueue(t.database.pool, first, { tenantId: "t", payload: { cents: 1 } });
  const handlers = [handleJob(broken, async () => {})];
  const runner = createRunner({ ledger: t.ledger, handlers, owner: "o" });
  expect(await runner.drain({ budgetMs: 60_000 })).toMatchObject({ dead: 1 });
  const [letter] = await t.deadLetters();
  expect(letter).toMatchObject({
    reason: "schema",
    error: expect.stringContaining("the upcast from version 1 failed with SyntaxError"),
  });
  expect(letter?.error).not.toContain("secret");
});

test("an upcaster is typed by the schemas of its versions, and refuses what the older does not accept", async () => {
  const v2 = z.object({ amount: z.number() });
  const typed = defineJob({
    ...options,
    upcast: {
      1: upcaster({ from: first.payload, to: v2 }, (old) => {
        expectTypeOf(old).toEqualTypeOf<{ cents: number }>();
        return { amount: old.cents };
      }),
      2: upcaster({ from: v2, to: schema }, ({ amount }) => ({
        amount: { cents: amount, currency: "EUR" },
      })),
    },
  });
  // @ts-expect-error -- version 2 has an amount
  upcaster({ from: first.payload, to: v2 }, (old) => ({ cents: old.cents }));
  const handler = handleJob(typed, async () => {});
  expect(handler.prepare({ cents: 1 }, 1)).toMatchObject({
    ok: true,
    stored: { amount: { cents: 1, currency: "EUR" } },
  });
  const refused = handler.prepare({ cents: "secret" }, 1);
  expect(refused).toMatchObject({ ok: false });
  expect(JSON.stringify(refused)).toContain(
    "the upcast from version 1 failed with ZodError: cents: ",
  );
  expect(JSON.stringify(refused)).not.toContain("secret");
});

test("what is stored again, as of a dead letter, is what the schema lets through", () => {
  const handler = handleJob(defineJob(options), async () => {});
  const today = { amount: { cents: 3, currency: "USD" } };
  const prepared = handler.prepare({ ...today, passwordHash: "hunter2" }, 3);
  expect(prepared.ok && prepared.stored).toEqual(today);
});

test.each([0, 3, 4])("an upcast from version %d of a job of version 3 is refused", (from) => {
  expect(() => defineJob({ ...options, upcast: { [from]: (old) => old } })).toThrow(
    expect.objectContaining({ code: "invalid_definition" }),
  );
});
