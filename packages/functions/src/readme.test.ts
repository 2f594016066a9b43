import { createEngine, type Engine } from "@evenkeel/engine";
import { enqueue } from "@evenkeel/jobs";
import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import type { Pool } from "pg";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { sendInvoice, sentInvoices } from "./testing/invoices.ts";
import { loadReadmeHost, type ReadmeHost } from "./testing/readme-host.ts";

let database: TestDatabase;
let engine: Engine;
let host: ReadmeHost | undefined;
beforeEach(async () => {
  database = await createTestDatabase({ migrated: false });
  engine = createEngine();
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await engine.close();
  await host?.background.close();
  await host?.remove();
  await database.drop();
});

async function addInvoice(pool: Pool, invoiceId: string): Promise<void> {
  const tx = await pool.connect();
  await tx.query("BEGIN");
  await enqueue(tx, sendInvoice, { tenantId: "acme", payload: { invoiceId } });
  await tx.query("COMMIT");
  tx.release();
}

test("the README's host migrates, takes a tick, and runs the job that a transaction enqueued", async () => {
  // Its modules are imported before anything is configured, as a build does.
  host = await loadReadmeHost();
  const { background, cron, inngest } = host;
  vi.stubEnv("DATABASE_URL", database.databaseUrl);
  vi.stubEnv("CRON_SECRET", "0123456789abcdef");
  vi.stubEnv("INNGEST_DEV", (await engine.listen()).url);

  await background.migrate();
  await addInvoice(database.pool, "i-1");
  await engine.register((request) => call(inngest, request));
  const tick = new Request("http://localhost/api/cron/background-jobs", {
    headers: { authorization: "Bearer 0123456789abcdef" },
  });
  const response = await call(cron, tick);
  expect([response.status, await response.json()]).toMatchObject([202, { mode: "dispatch-only" }]);
  await vi.waitUntil(() => sentInvoices.length > 0, { timeout: 60_000, interval: 5 });
  await engine.settled();
  expect(sentInvoices).toEqual(["i-1"]);
});

async function call(route: ReadmeHost["cron"], request: Request): Promise<Response> {
  return route[request.method]?.(request) ?? new Response(null, { status: 405 });
}
