import { silentLogger } from "@evenkeel/core";
import { maintenanceRequested } from "@evenkeel/events";
import { Inngest } from "inngest";
import { serve } from "inngest/edge";
import { afterEach, expect, test } from "vitest";

import { createEventSender } from "./event-sender.ts";
import { toSdkLogger } from "./sdk-logger.ts";
import {
  createBackgroundApp,
  windowEvent,
  type BackgroundApp,
  type BackgroundAppOptions,
} from "./testing/background-app.ts";

const open: BackgroundApp[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((app) => app.close()));
});

async function start(options?: BackgroundAppOptions): Promise<BackgroundApp> {
  const app = await createBackgroundApp(options);
  open.push(app);
  return app;
}

async function letters(app: BackgroundApp): Promise<Record<string, unknown>[]> {
  const { rows } = await app.database.pool.query<Record<string, unknown>>(
    `SELECT "kind", "source_id", "name", "reason", "error", "payload", "history", "status"
     FROM "evenkeel"."background_dead_letter" ORDER BY "created_at"`,
  );
  return rows;
}

const brokenDrain: BackgroundAppOptions = {
  wrapRunner: () => ({
    drain: () => Promise.reject(new Error("postgresql://admin:hunter2@db/x is not to be had")),
  }),
};

test("a run that fails for good is filed with its event, its error and its attempts", async () => {
  const app = await start(brokenDrain);
  const event = windowEvent();
  await createEventSender(app.client)([event]);
  await app.engine.advance("2h");
  const [run] = app.engine.runs({ function: "app-process-background-jobs" });
  expect(run).toMatchObject({ status: "Failed" });
  const [letter, ...others] = await letters(app);
  expect(others).toEqual([]);
  expect(letter).toMatchObject({
    kind: "RUN",
    source_id: run?.id,
    name: "app-process-background-jobs",
    reason: "exhausted",
    status: "OPEN",
    payload: { name: event.name, data: { dispatchKey: event.data.dispatchKey } },
  });
  expect(letter?.["history"]).toHaveLength(5);
  expect(JSON.stringify(letter)).not.toContain("hunter2");
  expect(
    await app.ledger.asOperator("test").runs.find({
      runId: run?.id ?? "",
      functionId: "app-process-background-jobs",
    }),
  ).toMatchObject({ status: "FAILED" });
});

test("after a failed run the same window can be redriven", async () => {
  const app = await start(brokenDrain);
  const event = windowEvent();
  const send = createEventSender(app.client);
  await send([event]);
  await app.engine.advance("2h");
  await app.engine.advance("24h");
  await send([event]);
  await app.engine.advance("2h");
  const runs = app.engine.runs({ function: "app-process-background-jobs" });
  expect(runs.map(({ status }) => status)).toEqual(["Failed", "Failed"]);
  expect(await letters(app)).toHaveLength(2);
});

test("an event that does not parse fails at once, with the issues as the reason", async () => {
  const app = await start();
  const event = windowEvent();
  await app.engine.send({ id: "bad", name: event.name, data: { ...event.data, lane: "fast" } });
  await app.engine.settled();
  expect(app.engine.runs({ function: "app-process-background-jobs" })).toMatchObject([
    { status: "Failed" },
  ]);
  expect(await letters(app)).toMatchObject([
    { reason: "schema", error: expect.stringContaining("lane") },
  ]);
});

test("a cancelled run is recorded and filed as cancelled", async () => {
  const app = await start(brokenDrain);
  await createEventSender(app.client)([windowEvent()]);
  await app.engine.settled();
  const [run] = app.engine.runs({ function: "app-process-background-jobs" });
  expect(app.engine.cancel(run?.id ?? "")).toBe(true);
  await app.engine.settled();
  expect(await letters(app)).toMatchObject([{ source_id: run?.id, reason: "cancelled" }]);
  expect(
    await app.ledger.asOperator("test").runs.find({
      runId: run?.id ?? "",
      functionId: "app-process-background-jobs",
    }),
  ).toMatchObject({ status: "CANCELLED" });
});

test("failures of another app's functions are left to that app", async () => {
  const app = await start();
  const other = new Inngest({
    id: "other",
    isDev: true,
    baseUrl: app.engine.url,
    fetch: app.engine.fetch,
    logger: toSdkLogger(silentLogger),
  });
  const failing = other.createFunction(
    { id: "f", triggers: [{ event: "other/asked" }], retries: 0 },
    () => Promise.reject(new Error("boom")),
  );
  await app.engine.register(serve({ client: other, functions: [failing] }));
  await app.engine.send({ name: "other/asked" });
  await app.engine.settled();
  expect(app.engine.events({ name: "inngest/function.failed" })).toHaveLength(1);
  expect(app.engine.runs({ function: "app-file-dead-letters" })).toEqual([]);
  expect(await letters(app)).toEqual([]);
});

test("maintenance marks runs that fell silent", async () => {
  const app = await start();
  const silent = { runId: "silent", functionId: "app-process-background-jobs" };
  for (const runId of ["silent", "alive"]) {
    await app.ledger.runs.begin({
      ...silent,
      runId,
      eventName: "background/process.requested",
      owner: "worker-0",
      attempt: 0,
    });
    if (runId === "silent") await app.advance(21 * 60_000);
  }
  await createEventSender(app.client)([windowEvent(maintenanceRequested)]);
  await app.engine.settled();
  expect(app.engine.runs({ function: "app-background-maintenance" })).toMatchObject([
    {
      status: "Completed",
      output: { outcome: "maintained", staleRuns: 1, repaired: 0, breaches: 0 },
    },
  ]);
  expect(await app.ledger.asOperator("test").runs.find(silent)).toMatchObject({ status: "STALE" });
  expect(
    await app.ledger.asOperator("test").runs.find({ ...silent, runId: "alive" }),
  ).toMatchObject({
    status: "RUNNING",
  });
});
