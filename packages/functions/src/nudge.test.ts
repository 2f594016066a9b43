import { createNudge } from "@evenkeel/dispatch";
import { afterEach, expect, test, vi } from "vitest";

import { createBackgroundApp, type BackgroundApp } from "./testing/background-app.ts";

let app: BackgroundApp;
afterEach(() => app.close());

const patience = { timeout: 60_000, interval: 5 };

async function runsOf(started: BackgroundApp): Promise<number> {
  return (await started.ledger.asOperator("test").runs.list()).filter(
    ({ functionId }) => functionId === "app-process-background-jobs",
  ).length;
}

test("without any tick, work starts on a nudge; while its drain waits, what follows needs no other", async () => {
  app = await createBackgroundApp({ isRealTime: true, idleTimeoutMs: 1_500 });
  const { dispatcher, ledger } = app;
  const nudge = createNudge({ dispatcher, ledger, schedule: "background-jobs" });
  await app.enqueueNotes(3);
  expect(await nudge()).toMatchObject({ outcome: "dispatched", receipt: { windowSeconds: 1 } });
  await vi.waitUntil(() => app.notes.length === 3, patience);
  await vi.waitUntil(() => ledger.jobs.hasPoller("stable"), patience);
  await app.enqueueNotes(2);
  expect(await nudge()).toEqual({ outcome: "polled" });
  await vi.waitUntil(() => app.notes.length === 5, patience);
  expect(await runsOf(app)).toBe(1);
  // Its drain ends by itself, and then quiet begins anew.
  await vi.waitUntil(async () => !(await ledger.jobs.hasPoller("stable")), patience);
  await app.enqueueNotes(1);
  expect(await nudge()).toMatchObject({ outcome: "dispatched" });
  await vi.waitUntil(() => app.notes.length === 6, patience);
  expect(await runsOf(app)).toBe(2);
});
