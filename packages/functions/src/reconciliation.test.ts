import { afterEach, expect, test } from "vitest";

import { createBackgroundApp, type BackgroundApp } from "./testing/background-app.ts";

const minuteMs = 60_000;
const open: BackgroundApp[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((app) => app.close()));
});

test("an Inngest server that lost its memory: the next window's maintenance repairs the lost ones", async () => {
  const app = await createBackgroundApp();
  open.push(app);
  await app.dispatcher.dispatch({ schedule: "background-jobs", source: "cron" });
  await app.advance(minuteMs);
  app.engine.pause("process-background-jobs");
  app.engine.pause("background-maintenance");
  await app.enqueueNotes(5);
  const lost = await app.dispatcher.dispatch({ schedule: "background-jobs", source: "cron" });
  await app.engine.faults.restart();
  await app.engine.settled();
  app.engine.resume("process-background-jobs");
  app.engine.resume("background-maintenance");
  expect((await app.ledger.report()).windows.neverStarted).toBe(1);

  await app.advance(3 * minuteMs);
  await app.dispatcher.dispatch({ schedule: "background-jobs", source: "cron" });
  await app.engine.settled();
  expect((await app.ledger.report()).windows.neverStarted).toBe(0);
  expect(await app.ledger.windows.find(lost.dispatchKey)).toMatchObject({
    status: "ENQUEUED",
    repairCount: 1,
  });
  expect(app.notes).toHaveLength(5);
  expect((await app.ledger.report()).runs.duplicateForWindow).toBe(0);
});
