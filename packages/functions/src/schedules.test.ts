import { defineSchedule } from "@evenkeel/dispatch";
import { createEngine, type Engine } from "@evenkeel/engine";
import { scheduledEventSchema } from "@evenkeel/events";
import { defineJob, handleJob } from "@evenkeel/jobs";
import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import { serve } from "inngest/edge";
import { afterEach, beforeEach, expect, test } from "vitest";
import { z } from "zod";

import { createBackground, type Background } from "./background.ts";

const digestJob = defineJob({ type: "digest.send", version: 1, payload: z.object({}) });
const reportRequested = {
  name: "report.requested",
  version: 1,
  schema: scheduledEventSchema.extend({ title: z.string() }),
};

let database: TestDatabase;
let engine: Engine;
let background: Background<[Request], Promise<Response>>;
let digests: string[];
let reports: unknown[];
beforeEach(async () => {
  database = await createTestDatabase();
  digests = [];
  reports = [];
  engine = createEngine({ handler: (request) => background.inngest(request) });
  background = createBackground({
    appId: "shop",
    environment: {
      CRON_SECRET: "0123456789abcdef",
      RECEIPTS_SECRET: "fedcba9876543210",
      INNGEST_DEV: "1",
      INNGEST_BASE_URL: engine.url,
    },
    pool: database.pool,
    handlers: [handleJob(digestJob, async ({ tenantId }) => void digests.push(tenantId))],
    schedules: [
      defineSchedule({
        id: "digest",
        every: 3_600,
        scope: "tenant",
        start: {
          job: digestJob,
          payload: () => ({}),
          spreadSeconds: 0,
          tenants: async (cursor) =>
            cursor === undefined
              ? { tenants: ["acme", "bolt"], next: "bolt" }
              : { tenants: ["core"] },
        },
      }),
      defineSchedule({
        id: "report",
        every: 3_600,
        start: { event: reportRequested, data: () => ({ title: "hours" }) },
      }),
    ],
    functions: (client) => [
      client.createFunction(
        { id: "report", triggers: [{ event: reportRequested.name }] },
        async ({ event }) => void reports.push(event.data),
      ),
    ],
    idleTimeoutMs: 0,
    serve,
    fetch: engine.fetch,
  });
  await background.migrate();
});
afterEach(async () => {
  await engine.close();
  await background.close();
  await database.drop();
});

async function ask(path: string): Promise<Record<string, unknown>> {
  const isReceipt = path.startsWith("receipts/");
  const handler = isReceipt ? background.receipts : background.cronOfSchedule;
  const secret = isReceipt ? "fedcba9876543210" : "0123456789abcdef";
  const headers = { authorization: `Bearer ${secret}` };
  const response = await handler(new Request(`http://localhost/api/cron/${path}`, { headers }));
  return z.record(z.string(), z.unknown()).parse(await response.json());
}

test("a tick of a schedule with tenants ends with a job done for each of them", async () => {
  expect(await ask("digest")).toMatchObject({ mode: "dispatch-only", schedule: "digest" });
  await engine.settled();
  expect(digests.toSorted()).toEqual(["acme", "bolt", "core"]);
  expect(await ask("digest")).toMatchObject({ mode: "dispatch-duplicate-suppressed" });
});

test("a product's function that a schedule's event started is in the receipt of its tick", async () => {
  const { mode, dispatchKey } = await ask("report");
  expect(mode).toBe("dispatch-only");
  await engine.settled();
  expect(reports).toMatchObject([{ title: "hours", dispatchKey, schedule: "report" }]);
  const receipt = await ask(`receipts/${encodeURIComponent(String(dispatchKey))}`);
  const { runs } = z.object({ runs: z.array(z.object({ functionId: z.string() })) }).parse(receipt);
  expect(runs.map(({ functionId }) => functionId)).toContain("shop-report");
});
