import { randomUUID } from "node:crypto";

import {
  createTestDatabase,
  startSilentProxy,
  type SilentProxy,
  type TestDatabase,
} from "@evenkeel/test-postgres/testing";
import { afterEach, beforeEach, expect, inject, test } from "vitest";

import { createLedger, type Ledger } from "../ledger.ts";
import { claimRequest, newJob } from "../testing/job-queue.ts";
import { isUnreachable } from "./ledger-error.ts";

let database: TestDatabase;
let proxy: SilentProxy;
let hostPool: ReturnType<SilentProxy["connect"]>;
beforeEach(async () => {
  database = await createTestDatabase();
  proxy = await startSilentProxy(database.databaseUrl);
  hostPool = proxy.connect();
});
afterEach(async () => {
  await proxy.close();
  await database.drop();
});

const patience = { connectionTimeoutMs: 2_000, statementTimeoutMs: 3_000 };
const openers: readonly (readonly [string, () => Ledger])[] = [
  [
    "a pool of its own",
    () => createLedger({ ...patience, databaseUrl: proxy.url, maxConnections: 4 }),
  ],
  ["the host's pool", () => createLedger({ ...patience, pool: hostPool })],
];

/** A call of every part of the machine that asks the database by itself. */
function callsOf(ledger: Ledger): Record<string, () => Promise<unknown>> {
  const lane = "stable" as const;
  const window = {
    dispatchKey: "s|v1|global|60|2026-01-01T00:00:00.000Z",
    schedule: "s",
    scope: "global",
    windowStart: new Date("2026-01-01T00:00:00Z"),
    windowSeconds: 60,
    lane,
    owner: "host",
    correlationId: "c",
  };
  const held = { id: "1", fence: "1" };
  return {
    "cron dispatch": () => ledger.windows.claim({ ...window, leaseMs: 60_000 }),
    reconciler: () =>
      ledger.reconcile({
        owner: "host",
        leaseMs: 60_000,
        neverStartedAfterMs: 60_000,
        staleAfterMs: 60_000,
        maxAgeMs: 3_600_000,
        limit: 1,
      }),
    relay: () => ledger.outbox.lease({ owner: "host", fence: randomUUID(), leaseMs: 60_000 }),
    pruner: () => ledger.prune(),
    "poller lease": () =>
      ledger.jobs.acquirePoller({
        lane,
        pollerId: "00000000-0000-4000-8000-000000000000",
        forMs: 2_000,
      }),
    claim: () => ledger.jobs.claim({ lane, types: ["t"], limit: 1, leaseMs: 30_000, owner: "o" }),
    heartbeat: () => ledger.jobs.heartbeat([held], 30_000),
    settlement: () => ledger.jobs.settle([{ ...held, kind: "succeeded", result: undefined }]),
    enqueue: () => ledger.jobs.insert(undefined, [newJob("other")]),
    runs: () => ledger.runs.markStale({ silentMs: 60_000, limit: 1 }),
    "a tenant's read": () => ledger.forTenant("t").jobs.list(),
    "an operator's read": () => ledger.asOperator("ada").audit(),
    report: () => ledger.report(),
    ping: () => ledger.ping(),
  };
}

/** Makes every call at once, and returns those that failed, with whether it was for want of an answer. */
async function failuresOf(ledger: Ledger): Promise<Record<string, boolean>> {
  const failures: Record<string, boolean> = {};
  const calls = Object.entries(callsOf(ledger));
  await Promise.all(
    calls.map(async ([name, call]) => {
      try {
        await call();
      } catch (error) {
        failures[name] = isUnreachable(error);
      }
    }),
  );
  return failures;
}

test.each(openers)("no call waits for a silent network for ever, over %s", async (_, open) => {
  const ledger = open();
  // Every connection has been opened, and rests.
  expect(await failuresOf(ledger)).toEqual({});
  const all = Object.fromEntries(Object.keys(callsOf(ledger)).map((name) => [name, true]));
  proxy.fallSilent();
  expect(await failuresOf(ledger)).toEqual(all);
  // Now there are only connections that are accepted and never answered.
  expect(await failuresOf(ledger)).toEqual(all);
  // The old ones stay silent. Connections that are being opened are awaited until they are given up.
  proxy.restoreNew();
  while (Object.keys(await failuresOf(ledger)).length > 0) continue;
  await ledger.close();
});

test.each(openers)("one silent connection is not used again, over %s", async (_, open) => {
  const ledger = open();
  await ledger.jobs.counts();
  await Promise.all(Array.from({ length: 4 }, async () => ledger.jobs.counts()));
  proxy.fallSilent();
  proxy.restoreNew();
  await expect(ledger.prune()).rejects.toMatchObject({ code: "unanswered" });
  // The other three rested meanwhile, and are as silent: they are closed without a try.
  await expect(ledger.prune()).resolves.toMatchObject({ deleted: 0 });
  await ledger.close();
});

test("handlers that hold every connection of a host's pool keep no heartbeat and no settlement waiting", async () => {
  const ledger = createLedger({ pool: hostPool });
  await ledger.jobs.insert(undefined, [newJob("held")]);
  const [job] = (
    await ledger.jobs.claim({
      lane: "stable",
      types: ["held"],
      limit: 1,
      leaseMs: 30_000,
      owner: "o",
    })
  ).jobs;
  if (job === undefined) throw new Error("Nothing was claimed.");
  const holders = await Promise.all(Array.from({ length: 4 }, async () => hostPool.connect()));
  expect(await ledger.jobs.heartbeat([job], 30_000)).toEqual(new Set([job.id]));
  const settled = await ledger.jobs.settle([{ ...job, kind: "succeeded", result: undefined }]);
  expect(settled).toEqual(new Set([job.id]));
  for (const holder of holders) holder.release();
  await ledger.close();
});

test("what is settled after close goes by the host's pool, which is still open", async () => {
  const ledger = createLedger({ pool: hostPool });
  await ledger.jobs.insert(undefined, [newJob("late")]);
  const { jobs } = await ledger.jobs.claim(claimRequest(["late"], 1));
  await ledger.close();
  const settled = await ledger.jobs.settle(jobs.map((job) => ({ ...job, kind: "succeeded" })));
  expect(settled.size).toBe(1);
});

test("without reserved connections a heartbeat waits for the pool, and not for ever", async () => {
  const ledger = createLedger({ ...patience, pool: hostPool, reserveConnections: false });
  const holders = await Promise.all(Array.from({ length: 4 }, async () => hostPool.connect()));
  const heartbeat = ledger.jobs.heartbeat([{ id: "1", fence: "1" }], 30_000);
  await expect(heartbeat).rejects.toThrow(/timeout exceeded|within/u);
  for (const holder of holders) holder.release();
  await ledger.close();
});

test("the server ends a statement of the ledger's own pool by itself, as nobody waits for it", async () => {
  // Past a pooler, which refuses to be told so.
  const url = new URL(inject("postgres").url);
  url.pathname = new URL(database.databaseUrl).pathname;
  const ledger = createLedger({ ...patience, databaseUrl: url.href });
  const blocker = await database.pool.connect();
  await blocker.query("BEGIN");
  await blocker.query("LOCK TABLE evenkeel.background_audit_entry");
  await expect(ledger.asOperator("ada").audit()).rejects.toMatchObject({
    code: expect.stringMatching(/^(?:unanswered|57014)$/u),
  });
  const waiting = `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`;
  while ((await database.pool.query(waiting)).rows.length > 0) continue;
  await blocker.query("COMMIT");
  blocker.release();
  await ledger.close();
});

test.each([
  { connectionTimeoutMs: 99 },
  { connectionTimeoutMs: Number.NaN },
  { statementTimeoutMs: 3_600_001 },
])("refuses %o", (options) => {
  expect(() => createLedger({ ...options, pool: hostPool })).toThrow(
    expect.objectContaining({ code: "invalid_options" }),
  );
});
