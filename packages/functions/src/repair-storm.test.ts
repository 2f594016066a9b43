import { createReconciler, type Reconciler } from "@evenkeel/dispatch";
import { afterEach, expect, test } from "vitest";

import {
  createBackgroundApp,
  type BackgroundApp,
  type BackgroundAppOptions,
} from "./testing/background-app.ts";

const minuteMs = 60_000;
const schedule = "background-jobs";
const processFunction = "app-process-background-jobs";

const open: BackgroundApp[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((app) => app.close()));
});

async function start(options: BackgroundAppOptions = {}): Promise<BackgroundApp> {
  const app = await createBackgroundApp(options);
  open.push(app);
  return app;
}

/** A pass of maintenance that comes by itself, beside those that windows bring. */
function reconcilerOf({ ledger, dispatcher }: BackgroundApp): Reconciler {
  return createReconciler({ ledger, dispatcher, owner: "host-2" });
}

async function repairs({ database }: BackgroundApp): Promise<number> {
  const { rows } = await database.pool.query<{ count: number }>(
    `SELECT coalesce(sum(repair_count), 0)::int AS count FROM evenkeel.background_dispatch_window`,
  );
  return rows[0]?.count ?? 0;
}

test("60 windows behind a concurrency of 1, a minute each: none is sent again in an hour", async () => {
  const app = await start({ concurrency: 1 });
  const reconciler = reconcilerOf(app);
  app.engine.faults.delayCalls({ function: processFunction, by: minuteMs, times: 1_000 });
  const now = app.clock.now();
  for (let window = 1; window <= 60; window += 1) {
    const scheduledAt = new Date(now - window * minuteMs);
    await app.dispatcher.dispatch({ schedule, scheduledAt, source: "cron" });
  }
  for (let minute = 1; minute <= 62; minute += 1) {
    await app.advance(minuteMs);
    await reconciler.run();
  }
  expect(await repairs(app)).toBe(0);
  const runs = app.engine.runs({ function: processFunction });
  expect(runs).toHaveLength(60);
  expect(new Set(runs.map(({ status }) => status))).toEqual(new Set(["Completed"]));
}, 240_000);

test("a window that the server lost while others run as usual is repaired within three minutes", async () => {
  const app = await start();
  const dispatch = async (): Promise<string> => {
    const receipt = await app.dispatcher.dispatch({ schedule, source: "cron" });
    await app.engine.settled();
    return receipt.dispatchKey;
  };
  await dispatch();
  await app.advance(minuteMs);
  app.engine.pause("process-background-jobs");
  app.engine.pause("background-maintenance");
  const lost = await dispatch();
  await app.engine.faults.restart();
  app.engine.resume("process-background-jobs");
  app.engine.resume("background-maintenance");
  for (let minute = 1; minute <= 3; minute += 1) {
    await app.advance(minuteMs);
    await dispatch();
  }
  expect(await app.ledger.windows.find(lost)).toMatchObject({ status: "ENQUEUED", repairCount: 1 });
  const runs = await app.ledger.asOperator("test").runs.list({ dispatchKey: lost });
  expect(runs).toMatchObject([
    { status: "SUCCEEDED", functionId: expect.stringContaining("background") },
    { status: "SUCCEEDED", functionId: expect.stringContaining("background") },
  ]);
  expect(await repairs(app)).toBe(1);
});
