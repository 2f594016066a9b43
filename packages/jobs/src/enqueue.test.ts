import { PrismaPg } from "@prisma/adapter-pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";

import { defineJob } from "./definition/job-definition.ts";
import { enqueue, enqueueMany } from "./enqueue.ts";
// A product generates a client of its own; any generated client serves as one.
import { PrismaClient } from "./generated/prisma/client.ts";
import { countJob } from "./testing/count-job.ts";
import { openQueue, type Queue } from "./testing/queue.ts";

let queue: Queue;
beforeAll(async () => {
  queue = await openQueue();
});
afterAll(() => queue.close());

async function countPending(tenantId: string): Promise<number> {
  const { rows } = await queue.database.pool.query<{ count: number }>(
    `SELECT count(*)::int AS "count" FROM "evenkeel"."background_job" WHERE "tenant_id" = $1`,
    [tenantId],
  );
  return rows[0]?.count ?? -1;
}

test("jobs of a transaction exist when it commits, and not before", async () => {
  const client = await queue.database.pool.connect();
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
  const client = await queue.database.pool.connect();
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
  const prisma = new PrismaClient({ adapter: new PrismaPg(queue.database.pool) });
  const inputs = Array.from({ length: 200 }, (_, n) => ({ tenantId: "prisma", payload: { n } }));
  const failed = prisma.$transaction(async (tx) => {
    await enqueueMany(tx, countJob, inputs);
    await enqueue(tx, countJob, { tenantId: "prisma", payload: { n: -1 }, uniqueKey: "k" });
    throw new Error("The product changed its mind.");
  });
  await expect(failed).rejects.toThrow("changed its mind");
  expect(await countPending("prisma")).toBe(0);

  const inserted = await prisma.$transaction(async (tx) => {
    await enqueue(tx, countJob, { tenantId: "prisma", payload: { n: -1 }, uniqueKey: "k" });
    return enqueueMany(tx, countJob, [...inputs, { ...inputs[0]!, uniqueKey: "k" }]);
  });
  expect(await countPending("prisma")).toBe(201);
  expect(inserted.at(-1)).toMatchObject({ created: false });
  await prisma.$disconnect();
});

test("what was enqueued inside a transaction that rolls back is gone, however much it was", async () => {
  const client = await queue.database.pool.connect();
  await client.query("BEGIN");
  for (let call = 0; call < 5; call += 1) {
    const emails = Array.from({ length: 2_000 }, (_, n) => {
      return { tenantId: `rolled-${n % 50}`, payload: { n }, uniqueKey: `${call}-${n}` };
    });
    await enqueueMany(client, countJob, emails);
  }
  await client.query("ROLLBACK");
  client.release();
  const { rows } = await queue.database.pool.query(
    `SELECT FROM "evenkeel"."background_job" WHERE "tenant_id" LIKE 'rolled-%'`,
  );
  expect(rows).toEqual([]);
  // Their keys are free.
  const again = { tenantId: "rolled-0", payload: { n: 0 }, uniqueKey: "0-0" };
  expect(await enqueue(queue.database.pool, countJob, again)).toMatchObject({ created: true });
});

test("an enqueue waits for the open transaction that holds its key, and takes it on a rollback", async () => {
  const input = { tenantId: "contended", payload: { n: 1 }, uniqueKey: "k" };
  const client = await queue.database.pool.connect();
  await client.query("BEGIN");
  const first = await enqueue(client, countJob, input);
  const second = enqueue(queue.database.pool, countJob, input);
  await client.query("ROLLBACK");
  client.release();
  expect(await second).toMatchObject({ created: true });
  expect((await second).id).not.toBe(first.id);
  expect(await countPending("contended")).toBe(1);
});

test("a job that would be due beyond the year 9999, or an empty batch, is no trouble", async () => {
  const runAt = new Date("+010000-01-01T00:00:00Z");
  const input = { tenantId: "far", payload: { n: 1 }, runAt };
  await expect(enqueue(queue.database.pool, countJob, input)).rejects.toMatchObject({
    code: "invalid_options",
  });
  expect(await enqueueMany(queue.database.pool, countJob, [])).toEqual([]);
});

test("one bad input among many: nothing is written", async () => {
  const inputs = Array.from({ length: 50 }, (_, n) => ({ tenantId: "batch", payload: { n } }));
  inputs[30] = { tenantId: "", payload: { n: 30 } };
  await expect(enqueueMany(queue.database.pool, countJob, inputs)).rejects.toMatchObject({
    code: "invalid_tenant",
  });
  expect(await countPending("batch")).toBe(0);
});

const textJob = defineJob({
  type: "text",
  version: 1,
  payload: z.object({ text: z.string() }),
  uniqueKey: ({ text }) => (text === "free" ? undefined : text),
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
  ["an empty unique key", { uniqueKey: "" }, "invalid_options"],
  ["a delay below nothing", { delayMs: -1 }, "invalid_options"],
  ["two due times", { delayMs: 1, runAt: new Date() }, "invalid_options"],
  ["a correlation id with NUL", { correlationId: "a\u0000" }, "invalid_options"],
  ["an invalid time", { runAt: new Date(Number.NaN) }, "invalid_options"],
  ["the year 0", { runAt: new Date("0000-01-01T00:00:00Z") }, "invalid_options"],
  ["a time as text", JSON.parse(`{ "runAt": "2026-01-01T00:00:00Z" }`), "invalid_options"],
])("%s is refused with a typed error and nothing is written", async (_case, change, code) => {
  const input = { tenantId: "bad", payload: { text: "free" }, ...change };
  await expect(
    enqueue(queue.database.pool, textJob, input as { tenantId: string; payload: { text: string } }),
  ).rejects.toMatchObject({ name: code === "invalid_options" ? "JobError" : "InputError", code });
  expect(await countPending("bad")).toBe(0);
});

test("a unique key admits one unsettled job per tenant, also under concurrency", async () => {
  const inserted = await Promise.all(
    Array.from({ length: 20 }, () =>
      enqueue(queue.database.pool, textJob, { tenantId: "u1", payload: { text: "once" } }),
    ),
  );
  expect(inserted.filter(({ created }) => created)).toHaveLength(1);
  expect(new Set(inserted.map(({ id }) => id)).size).toBe(1);
  const other = await enqueue(queue.database.pool, textJob, {
    tenantId: "u2",
    payload: { text: "once" },
  });
  expect(other.created).toBe(true);
  const many = await enqueueMany(
    queue.database.pool,
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
  JSON.parse(`{ "uniqueKey": "id" }`),
])("the definition %j is refused", (change) => {
  const options = { type: "x", version: 1, payload: z.object({}), ...change };
  expect(() => defineJob(options)).toThrow(expect.objectContaining({ code: "invalid_definition" }));
});
