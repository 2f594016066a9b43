import { setTimeout as sleep } from "node:timers/promises";

import { createNudge } from "@evenkeel/dispatch";
import { afterEach, expect, test, vi } from "vitest";

import { createBackgroundApp, type BackgroundApp } from "./testing/background-app.ts";

let app: BackgroundApp;
afterEach(() => app.close());

const hourMs = 3_600_000;

/**
 * Lets a drain poll until it has seen to what is waited for. The clock moves no faster than the machine's: what waits
 * for the database must not run out of its time because the machine is busy.
 */
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const patience = { timeout: 100_000, interval: 20 };
  await vi.waitUntil(async () => {
    if (await condition()) return true;
    await app.clock.advance(20);
    return false;
  }, patience);
}

/**
 * Moves the clock past the idle timeout, again and again, until the drain's run has ended. Once may not do: what was
 * under way at the jump has timed out, is tried again, and the quiet is counted from its end.
 */
async function untilQuiet({ clock, engine }: BackgroundApp): Promise<void> {
  const quiet = engine.settled().then(() => true);
  for (let looks = 0; ; looks += 1) {
    await clock.advance(looks % 50 === 0 ? hourMs : 20);
    if (await Promise.race([quiet, sleep(20, false)])) return;
  }
}

/** Process runs on record. */
async function runsOf({ ledger }: BackgroundApp): Promise<number> {
  return (await ledger.asOperator("test").runs.list()).filter(
    ({ functionId }) => functionId === "app-process-background-jobs",
  ).length;
}

test("without any tick, work starts on a nudge; while its drain waits, what follows needs no other", async () => {
  // Far longer than the clock moves before it is meant to end.
  app = await createBackgroundApp({
    runnerTime: "moved",
    idleTimeoutMs: hourMs,
    stepBudgetMs: 2 * hourMs,
  });
  const { clock, dispatcher, ledger } = app;
  const nudge = createNudge({
    dispatcher,
    ledger,
    schedule: "background-jobs",
    clock: { now: () => new Date(clock.now()) },
  });
  await app.enqueueNotes(3);
  expect(await nudge()).toMatchObject({ outcome: "dispatched", receipt: { windowSeconds: 1 } });
  await until(() => app.notes.length === 3);
  await until(() => ledger.jobs.hasPoller("stable"));
  await app.enqueueNotes(2);
  expect(await nudge()).toEqual({ outcome: "polled" });
  await until(() => app.notes.length === 5);
  // Its drain ends by itself, and then quiet begins anew.
  await untilQuiet(app);
  expect(await ledger.jobs.hasPoller("stable")).toBe(false);
  expect(await runsOf(app)).toBe(1);
  await app.enqueueNotes(1);
  expect(await nudge()).toMatchObject({ outcome: "dispatched" });
  await until(() => app.notes.length === 6);
  await untilQuiet(app);
  expect(await runsOf(app)).toBe(2);
});
