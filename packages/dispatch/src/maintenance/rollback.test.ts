import { createLedger, type Ledger } from "@evenkeel/ledger";
import { setup, type Setup } from "@evenkeel/test-postgres/testing";
import { afterEach, beforeEach, expect, test } from "vitest";

import {
  createDispatcher,
  type Dispatcher,
  type DispatcherOptions,
} from "../dispatcher/dispatcher.ts";
import type { OutgoingEvent } from "../dispatcher/prepared-dispatch.ts";
import { defineSchedule } from "../schedule/schedule.ts";
import { createReconciler } from "./reconciler.ts";
import { createWatchdog, type Watchdog } from "./watchdog.ts";

let t: Setup<Ledger>;
let sent: OutgoingEvent[];
let inlined: number;
let failure: Error | undefined;
let logged: { event: string; fields: unknown }[];
beforeEach(async () => {
  t = await setup(createLedger);
  [sent, inlined, failure, logged] = [[], 0, undefined, []];
});
afterEach(() => t.close());

const log = (event: string, fields?: unknown): void => void logged.push({ event, fields });
const logger = { debug() {}, info: log, warn: log, error: log };
const inAnHour = new Date(Date.now() + 3_600_000);
const normal: DispatcherOptions["config"] = {
  useInngest: { enabled: true, because: "test" },
  windowSeconds: 60,
};
const off = { enabled: false, because: "BACKGROUND_JOBS_USE_INNGEST is false" };
const rollbacks = [
  ["BACKGROUND_JOBS_FORCE_INLINE", { ...normal, forceInlineUntil: inAnHour }],
  ["BACKGROUND_JOBS_USE_INNGEST=false", { ...normal, useInngest: off }],
  ["both, and the emergency switch", { ...normal, useInngest: off, inlineFallbackUntil: inAnHour }],
] as const;
const minute = defineSchedule({ id: "background-jobs", every: 60, catchUp: "latest" });

function host(config: DispatcherOptions["config"]): Dispatcher {
  return createDispatcher({
    ledger: t.ledger,
    send: async (events) => {
      if (failure !== undefined) throw failure;
      sent.push(...events);
    },
    runInline: async () => {
      inlined += 1;
    },
    config,
    schedules: [minute],
    environment: "test",
    owner: "host-1",
    logger,
  });
}

function watchdogOf(dispatcher: Dispatcher): Watchdog {
  const clock = { now: () => new Date(Date.now() + 5 * 60_000) };
  return createWatchdog({
    schedules: [minute],
    ledger: t.ledger,
    dispatcher,
    owner: "host-1",
    clock,
    logger,
  });
}

const request = { schedule: "background-jobs", source: "cron" };

test.each(rollbacks)(
  "under %s a repair sends nothing, works nothing, and says so",
  async (_name, config) => {
    failure = new Error("unreachable");
    const { dispatchKey } = await host(normal).dispatch(request);
    failure = undefined;
    const rolledBack = createReconciler({
      ledger: t.ledger,
      dispatcher: host(config),
      owner: "host-1",
      logger,
    });
    const report = await rolledBack.run();
    expect({ sent, inlined }).toEqual({ sent: [], inlined: 0 });
    expect(report).toMatchObject({
      repaired: 0,
      failed: 0,
      held: expect.stringMatching(/inline|Inngest/u),
    });
    expect(logged).toContainEqual({ event: "reconcile.held", fields: { reason: report.held } });
    expect(await t.ledger.windows.find(dispatchKey)).toMatchObject({
      status: "ENQUEUE_FAILED",
      claimCount: 1,
      repairCount: 0,
    });

    const restored = createReconciler({
      ledger: t.ledger,
      dispatcher: host(normal),
      owner: "host-1",
    });
    expect(await restored.run()).toMatchObject({ repaired: 1 });
    expect(sent.map(({ name }) => name)).toContain("background/process.requested");
  },
);

test.each(rollbacks)(
  "a repair that was claimed before %s leaves its window for later",
  async (_name, config) => {
    failure = new Error("unreachable");
    const { dispatchKey } = await host(normal).dispatch(request);
    failure = undefined;
    const { repairs } = await t.ledger.reconcile({
      owner: "host-1",
      leaseMs: 60_000,
      neverStartedAfterMs: 120_000,
      staleAfterMs: 1_200_000,
      maxAgeMs: 86_400_000,
      limit: 10,
    });
    expect(await host(config).repair(repairs[0]!)).toMatchObject({ mode: "dispatch-failed" });
    expect({ sent, inlined }).toEqual({ sent: [], inlined: 0 });
    expect(await t.ledger.windows.find(dispatchKey)).toMatchObject({ status: "ENQUEUE_FAILED" });
  },
);

test("a repair whose send fails never works inline, whatever the emergency switch says", async () => {
  failure = new Error("unreachable");
  const { dispatchKey } = await host(normal).dispatch(request);
  const dispatcher = host({ ...normal, inlineFallbackUntil: inAnHour });
  const reconciler = createReconciler({ ledger: t.ledger, dispatcher, owner: "host-1" });
  expect(await reconciler.run()).toMatchObject({ repaired: 0, failed: 1 });
  expect(inlined).toBe(0);
  expect(await t.ledger.windows.find(dispatchKey)).toMatchObject({ status: "ENQUEUE_FAILED" });
});

test.each(rollbacks)(
  "under %s the watchdog leaves what it would catch up with for later",
  async (_name, config) => {
    await watchdogOf(host(normal)).declare();
    await t.database.pool.query(
      `UPDATE evenkeel.background_schedule SET updated_at = now() - interval '1 hour'`,
    );
    const report = await watchdogOf(host(config)).run();
    expect({ sent, inlined }).toEqual({ sent: [], inlined: 0 });
    expect(report).toMatchObject({ caughtUp: 0, waiting: 1 });
    expect(await watchdogOf(host(normal)).run()).toMatchObject({ caughtUp: 1, waiting: 0 });
    expect(sent.map(({ name }) => name)).toContain("background/process.requested");
  },
);

test("a catch-up whose send fails never works inline", async () => {
  await watchdogOf(host(normal)).declare();
  await t.database.pool.query(
    `UPDATE evenkeel.background_schedule SET updated_at = now() - interval '1 hour'`,
  );
  failure = new Error("unreachable");
  const report = await watchdogOf(host({ ...normal, inlineFallbackUntil: inAnHour })).run();
  expect(report).toMatchObject({ caughtUp: 0 });
  expect(inlined).toBe(0);
});
