import { silentLogger } from "@evenkeel/core";
import { createEngine, virtualClock } from "@evenkeel/engine";
import { defineJob, enqueue, handleJob } from "@evenkeel/jobs";
import { createLedger } from "@evenkeel/ledger";
import { createTestDatabase } from "@evenkeel/test-postgres/testing";
import { serve } from "inngest/edge";
import { expect, test } from "vitest";
import { z } from "zod";

import { createBackground, type Background } from "./background.ts";

const noteJob = defineJob({
  type: "note.write",
  version: 1,
  payload: z.object({ note: z.string() }),
});

test("a host of another environment refuses ticks and, retryably, functions, until the ledger is given to it", async () => {
  await using database = await createTestDatabase();
  const production = createLedger({ pool: database.pool, environment: "production" });
  await production.migrate();

  const notes: string[] = [];
  const logged: string[] = [];
  const engine = createEngine({
    clock: virtualClock(),
    handler: (request) => staging.inngest(request),
  });
  const staging: Background<[Request], Promise<Response>> = createBackground({
    appId: "shop",
    environment: {
      CRON_SECRET: "0123456789abcdef",
      INNGEST_DEV: "1",
      INNGEST_BASE_URL: engine.url,
      INNGEST_ENV: "staging",
    },
    pool: database.pool,
    handlers: [
      handleJob(noteJob, async ({ payload }) => {
        notes.push(payload.note);
      }),
    ],
    idleTimeoutMs: 0,
    serve,
    fetch: engine.fetch,
    logger: { ...silentLogger, warn: (event) => void logged.push(event) },
  });
  await enqueue(database.pool, noteJob, { tenantId: "acme", payload: { note: "once" } });
  await engine.register((request) => staging.inngest(request));

  const response = await staging.cron(
    new Request("http://localhost/api/cron/background-jobs", {
      headers: { authorization: "Bearer 0123456789abcdef" },
    }),
  );
  expect(response.status).toBe(503);
  expect(await response.json()).toMatchObject({
    mode: "ledger-not-ready",
    reason: expect.stringContaining(`belongs to the environment "production"`),
  });
  await expect(staging.nudge()).resolves.toMatchObject({ outcome: "failed" });
  expect(engine.events()).toEqual([]);

  // Sent past the dispatcher, as while the ledger was away.
  const [start, seconds] = ["2026-01-01T00:00:00.000Z", 60];
  const dispatchKey = `background-jobs|v1|global|${seconds}|${start}`;
  await engine.send({
    id: "e-1",
    name: "background/process.requested",
    data: {
      source: "cron",
      requestedAt: start,
      dispatchKey,
      correlationId: "c-1",
      dispatchWindowStart: start,
      dispatchWindowSeconds: seconds,
      schemaVersion: 1,
      lane: "stable",
      schedule: "background-jobs",
    },
  });
  await engine.settled();
  expect(engine.runs({ function: "shop-process-background-jobs" })).toMatchObject([
    { status: "Running" },
  ]);
  expect(await production.jobs.counts()).toMatchObject({ due: 1, running: 0, succeeded: 0 });
  expect(await production.windows.find(dispatchKey)).toBeUndefined();
  expect(logged).toContain("runs.not_recorded");

  await production.asOperator("ada").changeEnvironment("staging", { reason: "a copy" });
  await engine.advance("10m");
  expect(engine.runs({ function: "shop-process-background-jobs" })).toMatchObject([
    { status: "Completed" },
  ]);
  expect(notes).toEqual(["once"]);
  await engine.close();
  await staging.close();
  await production.close();
});
