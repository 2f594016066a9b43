import { silentLogger, type Logger } from "@evenkeel/core";
import { createLedger, type Ledger } from "@evenkeel/ledger";
import { setup, type Setup } from "@evenkeel/test-postgres/testing";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { createDispatcher, type Dispatcher } from "../dispatcher/dispatcher.ts";
import { createHandshakeStarter } from "../dispatcher/handshake-starter.ts";
import type { OutgoingEvent } from "../dispatcher/prepared-dispatch.ts";
import type { ServerView } from "./evidence.ts";
import {
  createHandshakeWatch,
  type HandshakeWatch,
  type HandshakeWatchOptions,
} from "./handshake-watch.ts";

let t: Setup<Ledger>;
let logged: string[];
let sent: OutgoingEvent[];
beforeEach(async () => {
  t = await setup(createLedger);
  logged = [];
  sent = [];
});
afterEach(() => t.close());

function watchOf(change: Partial<HandshakeWatchOptions> = {}): HandshakeWatch {
  const log = (event: string): void => void logged.push(event);
  const logger: Logger = { ...silentLogger, info: log, error: log };
  return createHandshakeWatch({
    ledger: t.ledger,
    appId: "shop",
    functionId: "shop-background-maintenance",
    limits: {},
    environment: "production",
    logger,
    ...change,
  });
}

const config = {
  useInngest: { enabled: true, because: "test" },
  windowSeconds: 60,
} as const;

function dispatcherOf(handshake: HandshakeWatch): Dispatcher {
  return createDispatcher({
    ledger: t.ledger,
    send: async (events) => void sent.push(...events),
    config,
    environment: "production",
    owner: "web-1",
    handshake,
  });
}

const minute = (index: number) => new Date(Date.UTC(2026, 0, 1, 0, index));

function tick(dispatcher: Dispatcher, index: number) {
  return dispatcher.dispatch({
    schedule: "background-jobs",
    source: "cron",
    scheduledAt: minute(index),
  });
}

/** Moves the handshake and the windows back in time. */
async function pass(seconds: number): Promise<void> {
  await t.database.pool.query(
    `WITH windows AS (
       UPDATE evenkeel.background_dispatch_window SET enqueued_at = enqueued_at - $1 * interval '1 second'
     )
     UPDATE evenkeel.background_handshake SET sent_at = sent_at - $1 * interval '1 second',
       unanswered_since = unanswered_since - $1 * interval '1 second'`,
    [seconds],
  );
}

/** What the maintenance run of a dispatch does, and the process run. */
async function comeBack(dispatchKey: string): Promise<void> {
  await t.ledger.handshake.markBack({ lane: "stable", dispatchKey });
  await t.ledger.runs.begin({
    runId: `run-${dispatchKey}`,
    functionId: "shop-process-background-jobs",
    owner: "worker-1",
    holder: "00000000-0000-4000-8000-000000000001",
    attempt: 0,
    eventName: "background/process.requested",
    dispatchKey,
  });
}

test("a tick's receipt says nothing while handshakes come back, and names the cause while one does not", async () => {
  const dispatcher = dispatcherOf(watchOf());
  const first = await tick(dispatcher, 0);
  expect(first).not.toHaveProperty("handshake");
  await pass(11);
  const second = await tick(dispatcher, 1);
  expect(second.handshake).toMatchObject({
    lastOkAt: null,
    failingSince: expect.any(String),
    suspects: [{ cause: "lane_unserved" }],
  });
  await pass(11);
  // A duplicate says it as well.
  expect((await tick(dispatcher, 1)).handshake?.suspects).toHaveLength(1);
  await comeBack(first.dispatchKey);
  await comeBack(second.dispatchKey);
  const third = await tick(dispatcher, 2);
  expect(third).not.toHaveProperty("handshake");
  expect(logged).toEqual(["handshake.failing", "handshake.ok"]);
});

test("work that was sent a minute ago and has not started is named, though the handshake came back", async () => {
  const dispatcher = dispatcherOf(watchOf());
  const { dispatchKey } = await tick(dispatcher, 0);
  await t.ledger.handshake.markBack({ lane: "stable", dispatchKey });
  await pass(59);
  expect(await tick(dispatcher, 1)).not.toHaveProperty("handshake");
  await pass(2);
  const { handshake } = await tick(dispatcher, 2);
  expect(handshake?.lastOkAt).toEqual(expect.any(String));
  expect(handshake?.failingSince).toEqual(expect.any(String));
});

test("while all is well a tick and its duplicates cost no statement more, and ask no server", async () => {
  const look = vi.fn<NonNullable<HandshakeWatchOptions["look"]>>(async () => undefined);
  const counted = vi.spyOn(t.database.pool, "connect");
  const cost = async (watch: HandshakeWatch | undefined, index: number): Promise<number> => {
    const dispatcher =
      watch === undefined
        ? createDispatcher({
            ledger: t.ledger,
            send: async () => {},
            config,
            environment: "production",
            owner: "web-1",
          })
        : dispatcherOf(watch);
    const before = counted.mock.calls.length;
    const { dispatchKey } = await tick(dispatcher, index);
    await tick(dispatcher, index);
    const statements = counted.mock.calls.length - before;
    await comeBack(dispatchKey);
    return statements;
  };
  // A ledger's first use looks at its schema.
  await t.ledger.ping();
  const without = await cost(undefined, 0);
  expect(without).toBeGreaterThan(0);
  expect(await cost(watchOf({ look }), 1)).toBe(without);
  expect(look).not.toHaveBeenCalled();
});

test("of many callers while something fails, one gathers the evidence for all", async () => {
  const look = vi.fn<() => Promise<ServerView>>(async () => ({
    isReachable: true,
    functions: null,
  }));
  const watch = watchOf({ look });
  await t.ledger.handshake.noteSent({ lane: "stable", dispatchKey: "a", build: "" });
  await pass(11);
  const reports = await Promise.all(Array.from({ length: 50 }, () => watch.failing()));
  expect(look).toHaveBeenCalledOnce();
  expect(new Set(reports.map((report) => report?.suspects.length)).size).toBe(1);
  expect(logged).toEqual(["handshake.failing"]);
});

test("a server's API that hangs, and a ledger that is unavailable, hold nobody up for long", async () => {
  const look = () => new Promise<never>(() => {});
  const watch = watchOf({ look, timeoutMs: 50 });
  await t.ledger.handshake.noteSent({ lane: "stable", dispatchKey: "a", build: "" });
  await pass(11);
  expect(await watch.report()).toMatchObject({ suspects: [{ cause: "lane_unserved" }] });
  const blind = watchOf({
    ledger: { handshake: { ...t.ledger.handshake, read: () => new Promise<never>(() => {}) } },
    timeoutMs: 50,
  });
  expect(await blind.report()).toBeUndefined();
  expect(await blind.failing()).toBeUndefined();
});

test("hosts of one build that start together send one handshake, and it is the maintenance event", async () => {
  const startOf = (build: string) =>
    createHandshakeStarter({
      ledger: t.ledger,
      send: async (events) => void sent.push(...events),
      config,
      environment: "production",
      clock: { now: () => minute(0) },
      build,
    });
  const begun = await Promise.all(Array.from({ length: 5 }, () => startOf("b1")()));
  expect(begun.filter(Boolean)).toHaveLength(1);
  expect(await startOf("b2")()).toBe(true);
  expect(sent.map(({ name }) => name)).toEqual([
    "background/maintenance.requested",
    "background/maintenance.requested",
  ]);
  const { sentKey, unansweredSince } = await t.ledger.handshake.read("stable");
  expect(sentKey).toBe(sent[1]?.data.dispatchKey);
  expect(unansweredSince).not.toBeNull();
});

test("a host that starts while work is inline, or Inngest is off, sends none", async () => {
  const start = (change: object) =>
    createHandshakeStarter({
      ledger: t.ledger,
      send: async () => {
        throw new Error("not reached");
      },
      config: { ...config, ...change },
      environment: "production",
      clock: { now: () => minute(0) },
    })();
  expect(await start({ forceInlineUntil: minute(1) })).toBe(false);
  expect(await start({ useInngest: { enabled: false, because: "test" } })).toBe(false);
  // One that cannot be sent is told of by the watch.
  expect(await start({})).toBe(false);
  expect(await t.ledger.handshake.read("stable")).toMatchObject({
    unansweredSince: expect.any(String),
  });
});
