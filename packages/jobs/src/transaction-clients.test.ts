import { inspect } from "node:util";

import type { TransactionClient } from "@evenkeel/ledger";
import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import { PrismaPg } from "@prisma/adapter-pg";
import { drizzle as drizzleOnPg } from "drizzle-orm/node-postgres";
import { drizzle as drizzleOnPostgresJs } from "drizzle-orm/postgres-js";
import { Kysely, PostgresDialect } from "kysely";
import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";

import { defineJob } from "./definition/job-definition.ts";
import { handleJob } from "./definition/job-handler.ts";
import { enqueue, enqueueMany } from "./enqueue.ts";
// A product generates a client of its own; any generated client serves as one.
import { PrismaClient } from "./generated/prisma/client.ts";
import { cancelJob, rescheduleJob } from "./job-changes.ts";
import { createRunner } from "./runner/runner.ts";
import { setup, type Setup } from "./testing/setup.ts";

/** What a driver could take for something else: text that is JSON, quotes, dollars, times and other alphabets. */
const hard = `[1] {"a": null} $1 $2 'it''s' \\ "q" 2026-01-01T00:00:00Z ünïcödé`;

const noteJob = defineJob({
  type: "note.keep",
  version: 1,
  payload: z.object({ note: z.string(), list: z.array(z.number()).default([]) }),
});

let t: Setup;
let empty: TestDatabase;
const closing: (() => Promise<unknown>)[] = [];
beforeAll(async () => {
  [t, empty] = await Promise.all([setup(), createTestDatabase({ migrated: false })]);
});
afterAll(async () => {
  await Promise.all(closing.map((close) => close()));
  await Promise.all([t.close(), empty.drop()]);
});

/** Runs work in a transaction of a library, as its documentation shows. */
type Transact = <Result>(work: (tx: TransactionClient) => Promise<Result>) => Promise<Result>;

/** A client of postgres.js with connections of its own. */
function connect(url: string): postgres.Sql {
  const sql = postgres(url, { max: 2 });
  closing.push(() => sql.end());
  return sql;
}

const libraries: Readonly<Record<string, (database: TestDatabase) => Transact>> = {
  Prisma: ({ pool }) => {
    const prisma = new PrismaClient({ adapter: new PrismaPg(pool) });
    return (work) => prisma.$transaction((tx) => work(tx));
  },
  Kysely: ({ pool }) => {
    const db = new Kysely<object>({ dialect: new PostgresDialect({ pool }) });
    return (work) => db.transaction().execute((tx) => work(tx));
  },
  "Drizzle on pg": ({ pool }) => {
    const db = drizzleOnPg(pool);
    return (work) => db.transaction((tx) => work(tx));
  },
  "Drizzle on postgres.js": ({ databaseUrl }) => {
    const db = drizzleOnPostgresJs(connect(databaseUrl));
    return (work) => db.transaction((tx) => work(tx));
  },
  "postgres.js": ({ databaseUrl }) => {
    const sql = connect(databaseUrl);
    return async (work) => {
      const results = await sql.begin(async (tx) => ({ result: await work(tx) }));
      return results.result;
    };
  },
};

describe.each(Object.entries(libraries))("in a transaction of %s", (library, open) => {
  const tenantId = library.toLowerCase();
  const jobs = (): ReturnType<Setup["ledger"]["forTenant"]>["jobs"] =>
    t.ledger.forTenant(tenantId).jobs;

  test("a job exists if and when it commits, as it was given", async () => {
    const transact = open(t.database);
    const input = { tenantId, payload: { note: hard, list: [1, 2] }, correlationId: hard };
    const job = await transact(async (tx) => {
      const inserted = await enqueue(tx, noteJob, input);
      expect(await jobs().find(inserted.id)).toBeUndefined();
      return inserted;
    });
    expect(job).toEqual({ id: expect.stringMatching(/^\d+$/u), created: true });
    expect(await jobs().find(job.id)).toMatchObject({
      payload: { note: hard, list: [1, 2] },
      correlationId: hard,
    });
  });

  test("no job is left when it fails", async () => {
    const transact = open(t.database);
    const ids: string[] = [];
    const failed = transact(async (tx) => {
      const many = Array.from({ length: 200 }, () => ({ tenantId, payload: { note: hard } }));
      ids.push(...(await enqueueMany(tx, noteJob, many)).map(({ id }) => id));
      throw new Error("The order is void.");
    });
    await expect(failed).rejects.toThrow("The order is void.");
    expect(ids).toHaveLength(200);
    expect(await jobs().find(ids[0] ?? "")).toBeUndefined();
  });

  test("unique keys, cancellations and new due times are as with pg", async () => {
    const transact = open(t.database);
    const input = { tenantId, payload: { note: hard }, unique: hard, delayMs: 60_000 };
    const [first, second] = await transact((tx) => enqueueMany(tx, noteJob, [input, input]));
    expect([first, second]).toMatchObject([{ created: true }, { created: false, id: first?.id }]);
    const target = { tenantId, id: first?.id ?? "" };
    const moved = await transact((tx) => rescheduleJob(tx, target, { runAt: new Date(0) }));
    expect(moved).toMatchObject({ rescheduled: true });
    const cancelled = await transact((tx) => cancelJob(tx, target, { by: "ada", reason: hard }));
    expect(cancelled).toMatchObject({ cancelled: true });
  });

  test("a job completes with it, and an event leaves with it", async () => {
    const transact = open(t.database);
    const type = defineJob({
      type: `complete.${library.replaceAll(/\W/gu, "")}`,
      version: 1,
      payload: z.object({}),
      result: z.object({ note: z.string() }),
    });
    const { id } = await enqueue(t.database.pool, type, { tenantId, payload: {} });
    const handler = handleJob(type, async ({ completeIn }) => {
      await transact(async (tx) => {
        await t.ledger.outbox.add(tx, { name: "note/kept", data: { note: hard } });
        await completeIn(tx, { note: hard });
      });
      return { note: hard };
    });
    const runner = createRunner({ ledger: t.ledger, handlers: [handler], owner: library });
    expect(await runner.drain({ budgetMs: 60_000 })).toMatchObject({ succeeded: 1, retried: 0 });
    expect(await jobs().find(id)).toMatchObject({ status: "SUCCEEDED", result: { note: hard } });
  });

  test("missing tables are told as such, and no payload is in the message", async () => {
    const transact = open(empty);
    const input = { tenantId, payload: { note: "hunter2" } };
    const error: unknown = await transact((tx) => enqueue(tx, noteJob, input)).catch(
      (caught: unknown) => caught,
    );
    expect(error).toMatchObject({ code: "not_migrated" });
    expect(inspect(error)).not.toContain("hunter2");
  });
});
