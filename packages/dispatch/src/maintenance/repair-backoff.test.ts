import { createLedger, type Ledger } from "@evenkeel/ledger";
import { installMovableClock, type MovableClock } from "@evenkeel/test-postgres/movable-clock";
import { setup, type Setup } from "@evenkeel/test-postgres/testing";
import { afterEach, beforeEach, expect, test } from "vitest";

import { createDispatcher, type Dispatcher } from "../dispatcher/dispatcher.ts";
import type { OutgoingEvent } from "../dispatcher/prepared-dispatch.ts";
import { createReconciler, type Reconciler } from "./reconciler.ts";

let t: Setup<Ledger>;
let clock: MovableClock;
let sent: OutgoingEvent[];
let failure: Error | undefined;
let dispatcher: Dispatcher;
let reconciler: Reconciler;
const minuteMs = 60_000;
const start = Date.parse("2026-01-01T10:00:00Z");
const run = { runId: "run-1", functionId: "app-process-background-jobs", owner: "worker-1" };

beforeEach(async () => {
  t = await setup(createLedger);
  clock = await installMovableClock(t.database, { start });
  [sent, failure] = [[], undefined];
  dispatcher = createDispatcher({
    ledger: t.ledger,
    send: async (events) => {
      if (failure !== undefined) throw failure;
      sent.push(...events);
    },
    config: { useInngest: { enabled: true, because: "test" }, windowSeconds: 60 },
    environment: "test",
    owner: "host-1",
    clock: { now: () => new Date(clock.now()) },
  });
  reconciler = createReconciler({ ledger: t.ledger, dispatcher, owner: "host-1" });
});
afterEach(() => t.close());

/** Dispatches so many windows of the past, and returns their keys, the oldest first. */
async function dispatchPast(count: number): Promise<string[]> {
  const keys: string[] = [];
  for (let minute = count; minute >= 1; minute -= 1) {
    const scheduledAt = new Date(clock.now() - minute * minuteMs);
    const receipt = await dispatcher.dispatch({ schedule: "s", scheduledAt, source: "cron" });
    keys.push(receipt.dispatchKey);
  }
  sent = [];
  return keys;
}

async function beginRun(dispatchKey: string, runId = run.runId): Promise<string> {
  const eventName = "background/process.requested";
  const begun = await t.ledger.runs.begin({ ...run, runId, dispatchKey, eventName, attempt: 0 });
  return begun?.fence ?? "";
}

/** Reconciles once a minute, and returns in which minutes windows were sent again, one for each. */
async function reconcileFor(
  minutes: number,
  everyMinute = async (): Promise<void> => {},
): Promise<number[]> {
  const repaired: number[] = [];
  for (let minute = 1; minute <= minutes; minute += 1) {
    await clock.advance(minuteMs + 1);
    await everyMinute();
    const report = await reconciler.run();
    repaired.push(...Array.from({ length: report.repaired + report.failed }, () => minute));
  }
  return repaired;
}

test("windows that wait behind one slow run are left alone for as long as it is alive", async () => {
  const [first] = await dispatchPast(60);
  const fence = await beginRun(first ?? "");
  const beat = async (): Promise<void> => void (await t.ledger.runs.heartbeat({ ...run, fence }));
  expect(await reconcileFor(60, beat)).toEqual([]);
  // Nothing is under way any more: what waits is lost, and a pass is capped.
  await t.ledger.runs.finish({ ...run, fence, status: "SUCCEEDED" });
  const repaired = await reconcileFor(5);
  const perPass = [1, 2, 3, 4, 5].map(
    (pass) => repaired.filter((minute) => minute === pass).length,
  );
  expect(Math.max(...perPass)).toBe(25);
  expect(new Set(sent.map(({ data }) => data.dispatchKey)).size).toBe(59);
});

test("while nothing starts, a window is sent again after pauses that double", async () => {
  await dispatchPast(1);
  expect(await reconcileFor(120)).toEqual([2, 4, 8, 16, 32, 62, 92]);
});

test("a send that keeps failing is tried again after pauses that double", async () => {
  failure = new Error("unreachable");
  await dispatchPast(1);
  expect(await reconcileFor(60)).toEqual([1, 3, 7, 15, 31]);
});

test("a window that one sent later has passed is lost, whatever else runs", async () => {
  const [lost] = await dispatchPast(1);
  const [later] = await dispatchPast(2);
  await beginRun(later ?? "");
  const beat = async (): Promise<void> => {
    await t.database.pool.query(
      `UPDATE evenkeel.background_function_run SET heartbeat_at = clock_timestamp()`,
    );
  };
  expect(lost).not.toBe(later);
  await reconcileFor(3, beat);
  expect(await t.ledger.windows.find(lost ?? "")).toMatchObject({ repairCount: 1 });
  // The one that passed it has its run.
  expect(await t.ledger.windows.find(later ?? "")).toMatchObject({ repairCount: 0 });
});

test("a window that waits behind others for longer than a run may is lost", async () => {
  const [first, second] = await dispatchPast(2);
  let runs = 0;
  // Each run takes a minute, and each started late.
  const keepBusy = async (): Promise<void> =>
    void (await beginRun(first ?? "", `run-${(runs += 1)}`));
  await reconcileFor(64, keepBusy);
  expect(sent).toEqual([]);
  await reconcileFor(2, keepBusy);
  expect(new Set(sent.map(({ data }) => data.dispatchKey))).toEqual(new Set([second]));
});
