import { defineSchedule } from "@evenkeel/dispatch";
import { defineJob, enqueue, fixed, handleJob, type JobDefinition } from "@evenkeel/jobs";
import type { TestCluster } from "@evenkeel/test-postgres/testing";
import { Client } from "pg";
import { describe, expect, inject, it } from "vitest";
import { z } from "zod";

import { createTestBackground, type TestBackgroundOptions } from "./test-background.ts";

const payload: z.ZodObject<{ invoiceId: z.ZodString }> = z.object({ invoiceId: z.string() });
const sendInvoice: JobDefinition<typeof payload> = defineJob({
  type: "invoice.send",
  version: 1,
  payload,
  retry: fixed({ maxAttempts: 2, delayMs: 60_000 }),
});

const cluster: TestCluster = inject("postgres");

/** The migrated database of this test run. */
function templateUrl(): string {
  const { url, template } = cluster;
  const named = new URL(url);
  named.pathname = `/${template}`;
  return named.href;
}

function setup(options: Partial<TestBackgroundOptions> = {}) {
  const sent: string[] = [];
  const handlers = [
    handleJob(sendInvoice, async ({ payload: { invoiceId } }) => {
      if (invoiceId === "broken") throw new Error("no such invoice");
      sent.push(invoiceId);
    }),
  ];
  const app = createTestBackground({ databaseUrl: templateUrl(), handlers, ...options });
  return { app, sent };
}

async function databasesNamed(url: string): Promise<number> {
  const client = new Client({ connectionString: cluster.url });
  await client.connect();
  const { rowCount } = await client.query(`select from pg_database where datname = $1`, [
    new URL(url).pathname.slice(1),
  ]);
  await client.end();
  return rowCount ?? 0;
}

describe("createTestBackground", () => {
  it("runs jobs with a tick, each when its time has come", async () => {
    const t = setup();
    await using app = await t.app;
    const input = (invoiceId: string, delayMs: number) => ({
      tenantId: "t1",
      payload: { invoiceId },
      runAt: new Date(app.now().getTime() + delayMs),
    });
    await enqueue(app.pool, sendInvoice, input("now", 0));
    await enqueue(app.pool, sendInvoice, input("later", 3_600_000));
    const first = await app.tick();
    expect(first).toMatchObject({ status: 202, receipt: { mode: "dispatch-only" } });
    expect(t.sent).toEqual(["now"]);
    await app.advance("59m");
    await app.tick();
    expect(t.sent).toEqual(["now"]);
    await app.advance("2m");
    expect((await app.tick()).status).toBe(202);
    expect(t.sent).toEqual(["now", "later"]);
    expect(await app.jobs({ status: "SUCCEEDED" })).toHaveLength(2);
    const processed = app.sentEvents({ name: "background/process.requested" });
    expect(processed.length).toBeGreaterThanOrEqual(2);
  });

  it("answers a second tick of a window as a duplicate, and ticks by itself on the way", async () => {
    const t = setup();
    await using app = await t.app;
    await app.tick();
    expect(await app.tick()).toMatchObject({ status: 200 });
    await enqueue(app.pool, sendInvoice, {
      tenantId: "t1",
      payload: { invoiceId: "later" },
      runAt: new Date(app.now().getTime() + 150_000),
    });
    await app.advance("5m", { tickEvery: "1m" });
    expect(t.sent).toEqual(["later"]);
    expect(app.now().getTime() - Date.parse("2026-01-01T00:05:00Z")).toBeLessThan(1_000);
  });

  it("drains without a tick, and shows what is tried no more", async () => {
    const t = setup();
    await using app = await t.app;
    for (const invoiceId of ["i1", "broken", "i2"]) {
      await enqueue(app.pool, sendInvoice, { tenantId: "t1", payload: { invoiceId } });
    }
    expect(await app.drain()).toMatchObject({ succeeded: 2, retried: 1 });
    expect(await app.deadLetters()).toEqual([]);
    await app.advance("1h");
    expect(await app.drain()).toMatchObject({ dead: 1 });
    expect(await app.deadLetters()).toMatchObject([{ kind: "JOB", name: "invoice.send" }]);
    expect(app.sentEvents()).toEqual([]);
  });

  it("ticks a product's own schedule", async () => {
    const followups = defineSchedule({ id: "followups", every: 3_600 });
    await using app = await setup({ schedules: [followups] }).app;
    expect(await app.tick("followups")).toMatchObject({ status: 202 });
    expect(await app.tick("unknown")).toMatchObject({ status: 404 });
  });

  it("gives each test a database of its own, which goes with it", async () => {
    const [one, other] = await Promise.all([setup().app, setup().app]);
    await enqueue(one.pool, sendInvoice, { tenantId: "t1", payload: { invoiceId: "i1" } });
    expect(await other.jobs()).toEqual([]);
    expect(await databasesNamed(one.databaseUrl)).toBe(1);
    await Promise.all([one.close(), other.close()]);
    await one.close();
    expect(await databasesNamed(one.databaseUrl)).toBe(0);
  });

  it("takes a database without our tables, and starts where it is told", async () => {
    const bare = new URL(cluster.url);
    bare.pathname = "/template0";
    await using app = await createTestBackground({
      environment: { DATABASE_URL: bare.href, INNGEST_EVENT_KEY: "of-production" },
      handlers: [],
      startAt: "2030-06-01T12:00:00Z",
    });
    expect(app.now().toISOString()).toMatch(/^2030-06-01T12:00:00/u);
    const { rows } = await app.pool.query<{ at: Date }>("select now() as at");
    expect(rows[0]?.at.toISOString()).toMatch(/^2030-06-01T12:00:0/u);
    expect(await app.jobs()).toEqual([]);
  });

  it("says what it lacks", async () => {
    await expect(createTestBackground({ handlers: [] })).rejects.toThrow(/databaseUrl/u);
    await expect(setup({ startAt: "soon" }).app).rejects.toThrow(/startAt/u);
    await using app = await setup().app;
    await expect(app.advance("soon")).rejects.toThrow(/15m/u);
    await expect(app.advance("1h", { tickEvery: 0 })).rejects.toThrow(/tickEvery/u);
  });
});
