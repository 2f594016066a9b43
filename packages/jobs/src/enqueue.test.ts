import type { InsertedJob } from "@evenkeel/ledger";
import { PrismaPg } from "@prisma/adapter-pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";

import { defineJob, type AnyJobDefinition } from "./definition/job-definition.ts";
import { enqueue, enqueueMany } from "./enqueue.ts";
// A product generates a client of its own; any generated client serves as one.
import { PrismaClient } from "./generated/prisma/client.ts";
import { countJob } from "./testing/count-job.ts";
import { setup, type Setup } from "./testing/setup.ts";

let t: Setup;
beforeAll(async () => {
  t = await setup();
});
afterAll(() => t.close());

async function countPending(tenantId: string): Promise<number> {
  const { rows } = await t.database.pool.query<{ count: number }>(
    `SELECT count(*)::int AS "count" FROM "evenkeel"."background_job" WHERE "tenant_id" = $1`,
    [tenantId],
  );
  return rows[0]?.count ?? -1;
}

test("jobs of a transaction exist when it commits, and not before", async () => {
  const client = await t.database.pool.connect();
  await client.query("BEGIN");
  await enqueueMany(
    client,
    countJob,
    Array.from({ length: 500 }, (_, n) => ({ tenantId: "commit", payload: { n } })),
  );
  expect(await countPending("commit")).toBe(0);
  await client.query("COMMIT");
  client.release();
  expect(await countPending("commit")).toBe(500);
});

test("a transaction that rolls back leaves no job", async () => {
  const client = await t.database.pool.connect();
  await client.query("BEGIN");
  await enqueue(client, countJob, { tenantId: "rollback", payload: { n: 1 } });
  await enqueueMany(
    client,
    countJob,
    Array.from({ length: 500 }, (_, n) => ({ tenantId: "rollback", payload: { n } })),
  );
  await client.query("ROLLBACK");
  client.release();
  expect(await countPending("rollback")).toBe(0);
});

test("in a Prisma transaction: jobs exist when it commits, and none is left when it fails", async () => {
  const prisma = new PrismaClient({ adapter: new PrismaPg(t.database.pool) });
  const inputs = Array.from({ length: 200 }, (_, n) => ({ tenantId: "prisma", payload: { n } }));
  const failed = prisma.$transaction(async (tx) => {
    await enqueueMany(tx, countJob, inputs);
    await enqueue(tx, countJob, { tenantId: "prisma", payload: { n: -1 }, unique: "k" });
    throw new Error("The product changed its mind.");
  });
  await expect(failed).rejects.toThrow("changed its mind");
  expect(await countPending("prisma")).toBe(0);

  const inserted = await prisma.$transaction(async (tx) => {
    await enqueue(tx, countJob, { tenantId: "prisma", payload: { n: -1 }, unique: "k" });
    return enqueueMany(tx, countJob, [...inputs, { ...inputs[0]!, unique: "k" }]);
  });
  expect(await countPending("prisma")).toBe(201);
  expect(inserted.at(-1)).toMatchObject({ created: false });
  await prisma.$disconnect();
});

test("what was enqueued inside a transaction that rolls back is gone, however much it was", async () => {
  const client = await t.database.pool.connect();
  await client.query("BEGIN");
  for (let call = 0; call < 5; call += 1) {
    const emails = Array.from({ length: 2_000 }, (_, n) => {
      return { tenantId: `rolled-${n % 50}`, payload: { n }, unique: `${call}-${n}` };
    });
    await enqueueMany(client, countJob, emails);
  }
  await client.query("ROLLBACK");
  client.release();
  const { rows } = await t.database.pool.query(
    `SELECT FROM "evenkeel"."background_job" WHERE "tenant_id" LIKE 'rolled-%'`,
  );
  expect(rows).toEqual([]);
  // Their keys are free.
  const again = { tenantId: "rolled-0", payload: { n: 0 }, unique: "0-0" };
  expect(await enqueue(t.database.pool, countJob, again)).toMatchObject({ created: true });
});

test("an enqueue waits for the open transaction that holds its key, and takes it on a rollback", async () => {
  const input = { tenantId: "contended", payload: { n: 1 }, unique: "k" };
  const client = await t.database.pool.connect();
  await client.query("BEGIN");
  const first = await enqueue(client, countJob, input);
  const second = enqueue(t.database.pool, countJob, input);
  await client.query("ROLLBACK");
  client.release();
  expect(await second).toMatchObject({ created: true });
  expect((await second).id).not.toBe(first.id);
  expect(await countPending("contended")).toBe(1);
});

test("a job that would be due beyond the year 9999, or an empty batch, is no trouble", async () => {
  const runAt = new Date("+010000-01-01T00:00:00Z");
  const input = { tenantId: "far", payload: { n: 1 }, runAt };
  await expect(enqueue(t.database.pool, countJob, input)).rejects.toMatchObject({
    code: "invalid_options",
  });
  expect(await enqueueMany(t.database.pool, countJob, [])).toEqual([]);
});

test("one bad input among many: nothing is written", async () => {
  const inputs = Array.from({ length: 50 }, (_, n) => ({ tenantId: "batch", payload: { n } }));
  inputs[30] = { tenantId: "", payload: { n: 30 } };
  await expect(enqueueMany(t.database.pool, countJob, inputs)).rejects.toMatchObject({
    code: "invalid_tenant",
  });
  expect(await countPending("batch")).toBe(0);
});

const textJob = defineJob({
  type: "text",
  version: 1,
  payload: z.object({ text: z.string() }),
  unique: ({ text }) => (text === "free" ? undefined : text),
});

test.each([
  ["a payload over 512 KiB", { payload: { text: "x".repeat(512 * 1024) } }, "payload_too_large"],
  ["another shape", { payload: { text: 1 } }, "invalid_payload"],
  ["no payload", { payload: undefined }, "invalid_payload"],
  ["NUL", { payload: { text: "a\u0000b" } }, "invalid_payload"],
  ["a bigint", { payload: { text: 1n } }, "invalid_payload"],
  ["a function", { payload: () => "x" }, "invalid_payload"],
  ["half a character", { payload: { text: "\ud800" } }, "invalid_payload"],
  ["an empty tenant", { tenantId: "" }, "invalid_tenant"],
  ["a tenant over 200 characters", { tenantId: "x".repeat(201) }, "invalid_tenant"],
  ["an empty unique key", { unique: "" }, "invalid_options"],
  ["a delay below nothing", { delayMs: -1 }, "invalid_options"],
  ["two due times", { delayMs: 1, runAt: new Date() }, "invalid_options"],
  ["a correlation id with NUL", { correlationId: "a\u0000" }, "invalid_options"],
  ["an invalid time", { runAt: new Date(Number.NaN) }, "invalid_options"],
  ["the year 0", { runAt: new Date("0000-01-01T00:00:00Z") }, "invalid_options"],
  ["a time as text", JSON.parse(`{ "runAt": "2026-01-01T00:00:00Z" }`), "invalid_options"],
])("%s is refused with a typed error and nothing is written", async (_case, change, code) => {
  const input = { tenantId: "bad", payload: { text: "free" }, ...change };
  await expect(
    enqueue(t.database.pool, textJob, input as { tenantId: string; payload: { text: string } }),
  ).rejects.toMatchObject({ name: code === "invalid_options" ? "JobError" : "InputError", code });
  expect(await countPending("bad")).toBe(0);
});

test("a unique key admits one waiting job per tenant, also under concurrency", async () => {
  const inserted = await Promise.all(
    Array.from({ length: 20 }, () =>
      enqueue(t.database.pool, textJob, { tenantId: "u1", payload: { text: "once" } }),
    ),
  );
  expect(inserted.filter(({ created }) => created)).toHaveLength(1);
  expect(new Set(inserted.map(({ id }) => id)).size).toBe(1);
  const other = await enqueue(t.database.pool, textJob, {
    tenantId: "u2",
    payload: { text: "once" },
  });
  expect(other.created).toBe(true);
  const many = await enqueueMany(
    t.database.pool,
    textJob,
    ["a", "once", "a", "free", "free"].map((text) => ({ tenantId: "u1", payload: { text } })),
  );
  expect(many.map(({ created }) => created)).toEqual([true, false, false, true, true]);
});

test.each([
  { type: "" },
  { type: "1st" },
  { type: "with space" },
  { version: 0 },
  { timeoutMs: 0 },
  // Of callers without types.
  JSON.parse(`{ "payload": {} }`),
  JSON.parse(`{ "type": null }`),
  JSON.parse(`{ "retry": { "maxAttempts": 3 } }`),
  JSON.parse(`{ "isRetryable": true }`),
  JSON.parse(`{ "version": 2, "upcast": { "1": 5 } }`),
  JSON.parse(`{ "unique": 5 }`),
  JSON.parse(`{ "unique": "" }`),
  JSON.parse(`{ "unique": { "keys": "id" } }`),
  JSON.parse(`{ "unique": { "key": "id", "states": ["RETRYING"] } }`),
  // A key that would hold for ever.
  JSON.parse(`{ "unique": { "key": "id", "states": ["SUCCEEDED"] } }`),
  JSON.parse(`{ "unique": { "key": "id", "onConflict": "merge" } }`),
  JSON.parse(`{ "unique": { "debounce": { "delayMs": 2000, "maxMs": 1000 } } }`),
  JSON.parse(`{ "unique": { "debounce": { "delayMs": 2000 } } }`),
  JSON.parse(
    `{ "unique": { "onConflict": "keep", "debounce": { "delayMs": 1000, "maxMs": 1000 } } }`,
  ),
  JSON.parse(`{ "result": {} }`),
])("the definition %j is refused", (change) => {
  const options = { type: "x", version: 1, payload: z.object({}), ...change };
  expect(() => defineJob(options)).toThrow(expect.objectContaining({ code: "invalid_definition" }));
});

test("what is stored, and what makes the key, is what the schema lets through", async () => {
  const draft = z.object({ draftId: z.string(), words: z.string().transform((t) => t.length) });
  const keys: unknown[] = [];
  const job = defineJob({
    type: "draft",
    version: 1,
    payload: draft,
    unique: (payload) => {
      keys.push(payload);
      return payload.draftId;
    },
  });
  const row = { draftId: "d-1", words: "four", passwordHash: "hunter2" };
  const { id } = await enqueue(t.database.pool, job, { tenantId: "rows", payload: row });
  const { rows } = await t.database.pool.query(
    `select payload, unique_key from evenkeel.background_job where id = $1`,
    [id],
  );
  expect(rows).toEqual([{ payload: { draftId: "d-1", words: "four" }, unique_key: "d-1" }]);
  expect(keys).toEqual([{ draftId: "d-1", words: 4 }]);
});

test("a payload that its schema would change again is refused by name", async () => {
  const payload = z.preprocess((n) => Number(n) * 2, z.number());
  const job = defineJob({ type: "twice", version: 1, payload });
  await expect(enqueue(t.database.pool, job, { tenantId: "t", payload: 1 })).rejects.toMatchObject({
    code: "invalid_payload",
    message: expect.stringContaining("z.preprocess()"),
  });
});

test("unique takes a key, a function or options, and enqueue's go before the definition's", async () => {
  const options = { version: 1, payload: z.object({ n: z.number() }) };
  const one = defineJob({ ...options, type: "one", unique: "one" });
  const many = defineJob({
    ...options,
    type: "many",
    unique: { key: ({ n }) => String(n), states: ["PENDING"], periodMs: 60_000 },
  });
  const registry: readonly AnyJobDefinition[] = [one, many];
  expect(registry.map(({ unique }) => unique?.states)).toEqual([undefined, ["PENDING"]]);
  const { pool } = t.database;
  const add = async (job: AnyJobDefinition, n: number, unique?: string | { periodMs: number }) =>
    (await enqueue(pool, job, { tenantId: "unique", payload: { n }, ...(unique && { unique }) }))
      .created;
  expect([await add(one, 1), await add(one, 2)]).toEqual([true, false]);
  expect([await add(one, 2, "other"), await add(one, 2, "other")]).toEqual([true, false]);
  expect([await add(many, 1), await add(many, 2), await add(many, 1)]).toEqual([true, true, false]);
  expect(await add(many, 1, { periodMs: 1_000 })).toBe(false);
  const wrong = JSON.parse(`{ "key": "k", "onConflicts": "replace" }`);
  await expect(
    enqueue(pool, many, { tenantId: "unique", payload: { n: 1 }, unique: wrong }),
  ).rejects.toMatchObject({ code: "invalid_options" });
});

test("enqueue replaces, debounces or keeps what waits, whatever the definition would do", async () => {
  const { pool } = t.database;
  const index = defineJob({
    type: "index",
    version: 1,
    payload: z.object({ n: z.number() }),
    unique: { key: "k", debounce: { delayMs: 60_000, maxMs: 120_000 } },
  });
  type Unique = NonNullable<Parameters<typeof enqueue>[2]["unique"]>;
  const add = (n: number, unique?: Unique, delayMs?: number): Promise<InsertedJob> =>
    enqueue(pool, index, {
      tenantId: "debounced",
      payload: { n },
      ...(unique !== undefined && { unique }),
      ...(delayMs !== undefined && { delayMs }),
    });
  const read = async (): Promise<unknown> => {
    const { rows } = await pool.query(
      `SELECT payload ->> 'n' AS n, round(extract(epoch FROM run_at - created_at) / 60)::int AS minutes
       FROM evenkeel.background_job WHERE tenant_id = 'debounced'`,
    );
    return rows;
  };
  const { id } = await add(1);
  expect(await read()).toEqual([{ n: "1", minutes: 1 }]);
  expect(await add(2)).toEqual({ id, created: false, replaced: true });
  expect(await read()).toEqual([{ n: "2", minutes: 1 }]);
  await expect(add(3, "k", 1_000)).rejects.toMatchObject({ code: "invalid_options" });
  expect(await add(4, { onConflict: "keep" }, 1_000)).toEqual({ id, created: false });
  expect(await read()).toEqual([{ n: "2", minutes: 1 }]);
  const later = { debounce: { delayMs: 600_000, maxMs: 600_000 } };
  expect(await add(5, later)).toMatchObject({ replaced: true });
  expect(await read()).toEqual([{ n: "5", minutes: 10 }]);
});

test.each([
  ["a ledger", () => t.ledger],
  ["a text", () => "postgres://localhost"],
  ["nothing", () => undefined],
  ["a promise of a client", () => Promise.resolve(t.database.pool)],
])("%s in place of a client is told what enqueue takes", async (_case, client) => {
  const input = { tenantId: "client", payload: { n: 1 } };
  await expect(enqueue(client() as never, countJob, input)).rejects.toMatchObject({
    name: "JobError",
    code: "invalid_options",
    message: expect.stringMatching(/^enqueue takes .* pool/u),
  });
});
