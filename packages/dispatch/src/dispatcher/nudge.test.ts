import { randomUUID } from "node:crypto";

import { createLedger, type Ledger } from "@evenkeel/ledger";
import { setup, type Setup } from "@evenkeel/test-postgres/testing";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";

import { createDispatcher, type DispatcherOptions } from "./dispatcher.ts";
import { createNudge, type Nudge } from "./nudge.ts";
import type { OutgoingEvent } from "./prepared-dispatch.ts";

let t: Setup<Ledger>;
let sent: OutgoingEvent[][];
let failure: Error | undefined;
let schedule: string;
beforeAll(async () => {
  t = await setup(createLedger);
  // Maintenance has begun, and no nudge brings it.
  await t.ledger.runs.begin({
    runId: randomUUID(),
    functionId: "app-background-maintenance",
    eventName: "background/maintenance.requested",
    owner: "worker-1",
    attempt: 0,
  });
});
beforeEach(async () => {
  sent = [];
  failure = undefined;
  schedule = `schedule-${randomUUID()}`;
  await t.database.pool.query(`DELETE FROM evenkeel.background_job_poller`);
});
afterAll(() => t.close());

const config: DispatcherOptions["config"] = {
  useInngest: { enabled: true, because: "test" },
  windowSeconds: 60,
};

function open(change: Partial<DispatcherOptions> = {}): Nudge {
  const dispatcher = createDispatcher({
    ledger: t.ledger,
    send: async (events) => {
      if (failure !== undefined) throw failure;
      sent.push([...events]);
    },
    config,
    environment: "test",
    owner: "host-1",
    runInline: () => Promise.reject(new Error("A nudge never works inline.")),
    ...change,
  });
  return createNudge({ dispatcher, ledger: t.ledger, schedule });
}

async function windowsOf(): Promise<{ window_seconds: number; status: string }[]> {
  const { rows } = await t.database.pool.query<{ window_seconds: number; status: string }>(
    `SELECT window_seconds, status FROM evenkeel.background_dispatch_window WHERE schedule = $1`,
    [schedule],
  );
  return rows;
}

test("a nudge sends the process event of its second, and nothing while the lane has a poller", async () => {
  const nudge = open();
  expect(await nudge()).toMatchObject({ outcome: "dispatched" });
  expect(sent.map((events) => events.map(({ name }) => name))).toEqual([
    ["background/process.requested"],
  ]);
  expect(sent[0]?.[0]?.data.dispatchKey).toMatch(/\|v1\|global\|1\|.*\.000Z$/u);
  await t.ledger.jobs.acquirePoller({ lane: "stable", pollerId: randomUUID(), forMs: 60_000 });
  expect(await nudge()).toEqual({ outcome: "polled" });
  expect(sent).toHaveLength(1);
});

test("a crowd of hosts sends at most once per second, and whoever comes late is not forgotten", async () => {
  const hosts = [open(), open(), open()];
  const startedAt = Date.now();
  const outcomes = await Promise.all(
    Array.from({ length: 90 }, (_, n) => (hosts[n % 3] ?? open())()),
  );
  const seconds = Math.floor(Date.now() / 1_000) - Math.floor(startedAt / 1_000) + 1;
  expect(new Set(outcomes.map(({ outcome }) => outcome))).toEqual(new Set(["dispatched"]));
  const keys = sent.map(([event]) => event?.data.dispatchKey);
  expect(new Set(keys).size).toBe(keys.length);
  expect(sent.length).toBeLessThanOrEqual(seconds);
  // No poller: each host asked for a second of its own.
  expect(await windowsOf()).toEqual(sent.map(() => ({ window_seconds: 1, status: "ENQUEUED" })));
});

test("calls while a look is under way share the one that follows it", async () => {
  let looks = 0;
  const counted = createNudge({
    dispatcher: { nudge: () => Promise.reject(new Error("not asked")) },
    ledger: {
      jobs: {
        ...t.ledger.jobs,
        hasPoller: async () => {
          looks += 1;
          return true;
        },
      },
    },
    schedule,
  });
  const first = counted();
  await Promise.resolve();
  const rest = Array.from({ length: 50 }, () => counted());
  await Promise.all([first, ...rest]);
  expect(looks).toBe(2);
});

test("a paused schedule, a switched-off Inngest and forced inline send nothing and run nothing", async () => {
  await t.ledger.asOperator("night").schedules.pause(schedule);
  expect(await open()()).toMatchObject({ outcome: "not-dispatched", receipt: { mode: "paused" } });
  await t.ledger.asOperator("night").schedules.resume(schedule);
  const off = { ...config, useInngest: { enabled: false, because: "test" } };
  const until = new Date(Date.now() + 60_000);
  for (const changed of [
    { ...config, forceInlineUntil: until },
    { ...off, inlineFallbackUntil: until },
  ]) {
    expect(await open({ config: changed })()).toMatchObject({
      outcome: "not-dispatched",
      receipt: { mode: "not-configured" },
    });
  }
  expect(sent).toEqual([]);
});

test("a failed send is on record, backs its host off, and never becomes inline work", async () => {
  failure = new Error("Inngest is unavailable.");
  const nudge = open({ config: { ...config, inlineFallbackUntil: new Date(Date.now() + 60_000) } });
  expect(await nudge()).toMatchObject({
    outcome: "not-dispatched",
    receipt: { mode: "dispatch-failed", reason: "Inngest is unavailable." },
  });
  expect(await windowsOf()).toMatchObject([{ status: "ENQUEUE_FAILED" }]);
  expect(await nudge()).toEqual({ outcome: "backing-off" });
});

test("a ledger that fails is no error of the caller's", async () => {
  const jobs = { ...t.ledger.jobs, hasPoller: () => Promise.reject(new Error("postgres://u:p@h")) };
  const nudge = createNudge({
    dispatcher: { nudge: () => Promise.reject(new Error("not asked")) },
    ledger: { jobs },
    schedule,
  });
  const outcome = await nudge();
  expect(outcome).toMatchObject({ outcome: "failed" });
  expect(JSON.stringify(outcome)).not.toContain(":p@");
});

test("a look that the ledger never ends fails in time, and the nudges after it are made", async () => {
  const looks: Promise<boolean>[] = [new Promise(() => {}), Promise.resolve(true)];
  const hasPoller = (): Promise<boolean> => looks.shift() ?? Promise.resolve(true);
  const nudge = createNudge({
    dispatcher: { nudge: () => Promise.reject(new Error("not asked")) },
    ledger: { jobs: { ...t.ledger.jobs, hasPoller } },
    schedule,
    ledgerTimeoutMs: 20,
  });
  expect(await nudge()).toMatchObject({ outcome: "failed", error: "No answer within 20 ms." });
  expect(await nudge()).toEqual({ outcome: "polled" });
});
