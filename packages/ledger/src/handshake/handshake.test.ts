import { setup, type Setup } from "@evenkeel/test-postgres/testing";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";

import { createLedger, type Ledger } from "../ledger.ts";
import type { WindowClaim } from "../windows/window.ts";

let t: Setup<Ledger>;
beforeAll(async () => {
  t = await setup(createLedger);
});
afterAll(() => t.close());
beforeEach(async () => {
  await t.database.pool.query(
    `TRUNCATE evenkeel.background_handshake, evenkeel.background_host,
       evenkeel.background_dispatch_window, evenkeel.background_function_run CASCADE`,
  );
});

const sent = (dispatchKey: string) => ({ lane: "stable", dispatchKey, build: "b1" }) as const;

/** Moves what was noted back in time, so that the next is another second's. */
async function pass(seconds: number): Promise<void> {
  await t.database.pool.query(
    `UPDATE evenkeel.background_handshake SET sent_at = sent_at - $1 * interval '1 second',
       unanswered_since = unanswered_since - $1 * interval '1 second', ok_at = ok_at - $1 * interval '1 second'`,
    [seconds],
  );
}

function claimOf(dispatchKey: string): WindowClaim {
  return {
    dispatchKey,
    schedule: "background-jobs",
    scope: "global",
    windowStart: new Date("2026-01-01T00:00:00Z"),
    windowSeconds: 60,
    lane: "stable",
    owner: "web-1",
    correlationId: "tick-1",
    leaseMs: 30_000,
  };
}

async function sendWindow(dispatchKey: string, handshakeBuild?: string): Promise<void> {
  const claim = await t.ledger.windows.claim(claimOf(dispatchKey));
  if (claim.outcome !== "claimed") throw new Error(claim.outcome);
  const note = handshakeBuild === undefined ? {} : { handshakeBuild };
  await t.ledger.windows.markEnqueued(dispatchKey, claim.fence, note);
}

test("waits from the first that was sent until the newest comes back", async () => {
  const { handshake } = t.ledger;
  expect(await handshake.read("stable")).toMatchObject({ sentAt: null, unansweredSince: null });
  await handshake.noteSent(sent("a"));
  await pass(60);
  await handshake.noteSent(sent("b"));
  await pass(5);
  expect((await handshake.read("stable")).unansweredMs).toBeGreaterThanOrEqual(65_000);
  await handshake.markBack(sent("a"));
  // The older one came back: the newest is still out.
  const { unansweredMs, okAt } = await handshake.read("stable");
  expect(okAt).not.toBeNull();
  expect(unansweredMs).toBeGreaterThanOrEqual(5_000);
  expect(unansweredMs).toBeLessThan(65_000);
  await handshake.markBack(sent("b"));
  const back = await handshake.read("stable");
  expect(back).toMatchObject({ sentKey: "b", sentBuild: "b1", unansweredSince: null });
  expect(back.roundTripMs).toBeGreaterThanOrEqual(5_000);
  expect(await handshake.read("canary")).toMatchObject({ sentAt: null });
});

test("one that came back before its send was noted does not wait", async () => {
  await t.ledger.handshake.noteSent(sent("a"));
  await pass(60);
  await t.ledger.handshake.markBack(sent("b"));
  await t.ledger.handshake.noteSent(sent("b"));
  expect(await t.ledger.handshake.read("stable")).toMatchObject({
    sentKey: "b",
    unansweredSince: null,
  });
});

test("a window's send notes its handshake in the same statement, and a failed send too", async () => {
  await sendWindow("a");
  expect(await t.ledger.handshake.read("stable")).toMatchObject({ sentKey: null });
  await sendWindow("b", "b1");
  expect(await t.ledger.handshake.read("stable")).toMatchObject({ sentKey: "b", sentBuild: "b1" });
  await pass(2);
  const claim = await t.ledger.windows.claim(claimOf("c"));
  if (claim.outcome !== "claimed") throw new Error(claim.outcome);
  await t.ledger.windows.markFailed("c", claim.fence, "fetch failed", { handshakeBuild: "b1" });
  expect(await t.ledger.handshake.read("stable")).toMatchObject({ sentKey: "c" });
  expect(await t.ledger.windows.claim(claimOf("c"))).toMatchObject({
    outcome: "claimed",
    handshake: { sentKey: "c" },
  });
  const { sendError } = await t.ledger.handshake.evidence({ appId: "app", lane: "stable" });
  expect(sendError).toBeNull();
});

test("a write whose fence is lost notes no handshake", async () => {
  await t.ledger.windows.claim(claimOf("a"));
  const note = { handshakeBuild: "b1" };
  const other = "00000000-0000-4000-8000-000000000000";
  expect(await t.ledger.windows.markEnqueued("a", other, note)).toBe(false);
  expect(await t.ledger.handshake.read("stable")).toMatchObject({ sentKey: null });
});

test("of hosts that start at once, one sends", async () => {
  const begun = await Promise.all(
    Array.from({ length: 8 }, () => t.ledger.handshake.begin(sent("start-1"))),
  );
  expect(begun.filter(Boolean)).toEqual([true]);
  await t.ledger.handshake.markBack(sent("start-1"));
  expect(await t.ledger.handshake.begin(sent("start-1"))).toBe(false);
  expect(await t.ledger.handshake.read("stable")).toMatchObject({ unansweredSince: null });
  expect(await t.ledger.handshake.begin(sent("start-2"))).toBe(true);
});

test("a window that was sent a minute ago and has no run is named, by the claim of the next tick", async () => {
  await sendWindow("a");
  await sendWindow("b");
  const isNamed = async () => {
    const { handshake } = await t.ledger.windows.claim(claimOf("next"));
    return handshake?.unstartedSince !== null;
  };
  expect(await isNamed()).toBe(false);
  await t.database.pool.query(
    `UPDATE evenkeel.background_dispatch_window SET enqueued_at = enqueued_at - interval '61 seconds'
     WHERE dispatch_key IN ('a', 'b')`,
  );
  expect(await isNamed()).toBe(true);
  const run = (dispatchKey: string, eventName: string) =>
    t.ledger.runs.begin({
      runId: `run-${dispatchKey}-${eventName}`,
      functionId: "app-process",
      owner: "worker-1",
      holder: "00000000-0000-4000-8000-000000000001",
      attempt: 0,
      eventName,
      dispatchKey,
    });
  await run("a", "background/process.requested");
  await run("b", "background/maintenance.requested");
  expect(await isNamed()).toBe(true);
  await run("b", "background/process.requested");
  expect(await isNamed()).toBe(false);
});

const host = {
  appId: "app",
  serveUrl: "https://one.example/api/inngest",
  lane: "stable",
  environment: "production",
  build: "b1",
  sdk: "inngest@4.24.0",
  leaseMs: 60_000,
} as const;

test("replicas and a rolling deploy of one address are one; a second address is named", async () => {
  const register = (change: Partial<Record<keyof typeof host, unknown>> = {}) =>
    t.ledger.handshake.registerHost({ ...host, ...change, now: new Date() } as never);
  expect(await register()).toEqual([]);
  expect(await register()).toEqual([]);
  expect(await register({ build: "b2" })).toEqual([]);
  expect(await register({ serveUrl: "" })).toEqual([]);
  expect(await register({ serveUrl: "https://staging.example/x", environment: "staging" })).toEqual(
    [],
  );
  expect(await register({ serveUrl: "https://two.example/api/inngest" })).toEqual([host.serveUrl]);
  expect(await register()).toEqual(["https://two.example/api/inngest"]);
  await t.database.pool.query(
    `UPDATE evenkeel.background_host SET lease_expires_at = clock_timestamp() - interval '1 second'
     WHERE serve_url LIKE '%two%'`,
  );
  expect(await register()).toEqual([]);
  const { hosts } = await t.ledger.handshake.evidence({ appId: "app", lane: "stable" });
  expect(hosts.filter(({ isLive }) => isLive)).toHaveLength(4);
  await t.database.pool.query(
    `UPDATE evenkeel.background_host SET lease_expires_at = clock_timestamp() - interval '2 days'`,
  );
  await register();
  const { rows } = await t.database.pool.query(`SELECT FROM evenkeel.background_host`);
  expect(rows).toHaveLength(1);
});

test("a registration keeps what its replicas saw", async () => {
  const register = (change: object) =>
    t.ledger.handshake.registerHost({ ...host, now: new Date(), ...change });
  await register({ refusedMsAgo: 5_000, refusal: "signature" });
  await register({ calledMsAgo: 1_000, now: new Date(Date.now() - 3_600_000) });
  const { hosts } = await t.ledger.handshake.evidence({ appId: "app", lane: "stable" });
  expect(hosts).toHaveLength(1);
  expect(hosts[0]).toMatchObject({ refusal: "signature", refusedAt: expect.any(String) });
  expect(hosts[0]?.calledAt).toEqual(expect.any(String));
  expect(hosts[0]?.databaseSkewMs).toBeGreaterThan(3_500_000);
});
