import { randomUUID } from "node:crypto";

import { afterAll, beforeAll, expect, test } from "vitest";

import { createLedger } from "../ledger.ts";
import { setup, type Setup } from "../testing/setup.ts";
import type { ClaimOutcome, WindowClaim } from "./window.ts";

let t: Setup;
beforeAll(async () => {
  t = await setup();
});
afterAll(() => t.close());

function claimFor(dispatchKey: string, change: Partial<WindowClaim> = {}): WindowClaim {
  return {
    dispatchKey,
    schedule: "background-jobs",
    scope: "global",
    windowStart: new Date("2026-01-01T00:00:00Z"),
    windowSeconds: 60,
    lane: "stable",
    owner: "host-1",
    correlationId: randomUUID(),
    leaseMs: 30_000,
    ...change,
  };
}

function fenceOf(outcome: ClaimOutcome): string {
  if (outcome.outcome !== "claimed") throw new Error(`Expected a claim, got ${outcome.outcome}`);
  return outcome.fence;
}

async function expire(dispatchKey: string): Promise<void> {
  await t.database.pool.query(
    `UPDATE evenkeel.background_dispatch_window SET lease_expires_at = now() - interval '1 second' WHERE dispatch_key = $1`,
    [dispatchKey],
  );
}

test("of 200 concurrent claims of one window one wins and the others are counted as duplicates", async () => {
  const key = randomUUID();
  const ledgers = [1, 2, 3, 4].map(() => createLedger({ pool: t.database.connect() }));
  const outcomes = await Promise.all(
    Array.from({ length: 200 }, (_, index) => {
      const host = ledgers[index % 4] ?? t.ledger;
      return host.windows.claim(claimFor(key, { owner: `host-${index % 4}` }));
    }),
  );
  expect(outcomes.filter(({ outcome }) => outcome === "claimed")).toHaveLength(1);
  expect(await t.ledger.windows.find(key)).toMatchObject({
    status: "DISPATCHING",
    claimCount: 1,
    duplicateCount: 199,
  });
});

test("a window whose send failed is claimed again at once, under a new fence", async () => {
  const key = randomUUID();
  const first = fenceOf(await t.ledger.windows.claim(claimFor(key)));
  expect(await t.ledger.windows.markFailed(key, first, "ECONNREFUSED")).toBe(true);
  const second = await t.ledger.windows.claim(claimFor(key));
  expect(second).toMatchObject({ outcome: "claimed", claimCount: 2 });
  expect(fenceOf(second)).not.toBe(first);
  expect(await t.ledger.windows.find(key)).toMatchObject({ failureCount: 1, duplicateCount: 0 });
});

test("an expired claim is taken over, and its late owner's writes are refused", async () => {
  const key = randomUUID();
  const late = fenceOf(await t.ledger.windows.claim(claimFor(key)));
  expect(await t.ledger.windows.claim(claimFor(key))).toMatchObject({ outcome: "duplicate" });
  await expire(key);
  const current = fenceOf(await t.ledger.windows.claim(claimFor(key, { owner: "host-2" })));

  expect(await t.ledger.windows.markEnqueued(key, late)).toBe(false);
  expect(await t.ledger.windows.markFailed(key, late, "late")).toBe(false);
  expect(await t.ledger.windows.markInline(key, late)).toBe(false);
  expect(await t.ledger.windows.find(key)).toMatchObject({
    status: "DISPATCHING",
    owner: "host-2",
  });
  expect(await t.ledger.windows.markEnqueued(key, current)).toBe(true);
});

test("a dispatched window stays dispatched, however late a tick comes", async () => {
  const key = randomUUID();
  const fence = fenceOf(await t.ledger.windows.claim(claimFor(key)));
  await t.ledger.windows.markEnqueued(key, fence);
  await expire(key);
  const late = await t.ledger.windows.claim(claimFor(key));
  expect(late).toMatchObject({ outcome: "duplicate", window: { status: "ENQUEUED" } });
  expect(await t.ledger.windows.markFailed(key, fence, "too late")).toBe(false);
});

test("a paused schedule claims nothing until it is resumed", async () => {
  const key = randomUUID();
  const claim = claimFor(key, { schedule: "paused-schedule" });
  await t.ledger.asOperator("ops").schedules.pause("paused-schedule", { reason: "incident" });
  expect(await t.ledger.windows.claim(claim)).toMatchObject({
    outcome: "paused",
    reason: "incident",
  });
  expect(await t.ledger.windows.find(key)).toBeUndefined();
  await t.ledger.asOperator("ops").schedules.resume("paused-schedule");
  expect(await t.ledger.windows.claim(claim)).toMatchObject({ outcome: "claimed" });
});

test("an error's credentials never reach the row", async () => {
  const key = randomUUID();
  const fence = fenceOf(await t.ledger.windows.claim(claimFor(key)));
  await t.ledger.windows.markFailed(
    key,
    fence,
    "connect postgresql://app:hunter2@db/app failed; Authorization: Bearer abc.def",
  );
  const window = await t.ledger.windows.find(key);
  expect(window?.lastError).toContain("postgresql://[redacted]@db/app");
  expect(window?.lastError).not.toMatch(/hunter2|abc\.def/u);
});

test("a failed window of a schedule that skips overlaps is taken over under a lease while an earlier run is under way", async () => {
  const schedule = randomUUID();
  const skipping = { schedule, skipOnOverlap: true };
  const earlier = claimFor(randomUUID(), skipping);
  await t.ledger.windows.claim(earlier);
  const late = { ...skipping, windowStart: new Date("2026-01-01T00:01:00Z") };
  const failed = claimFor(randomUUID(), late);
  await t.ledger.windows.markFailed(
    failed.dispatchKey,
    fenceOf(await t.ledger.windows.claim(failed)),
    "no response",
  );
  await t.ledger.runs.begin({
    runId: randomUUID(),
    functionId: "process",
    eventName: "background/process.requested",
    dispatchKey: earlier.dispatchKey,
    owner: "worker-1",
    attempt: 0,
  });
  expect(await t.ledger.windows.claim(failed)).toMatchObject({ outcome: "claimed" });
  // Its host dies: without a lease nobody would ever see the claim as expired.
  const { rows } = await t.database.pool.query(
    `SELECT lease_expires_at > now() AS is_leased FROM evenkeel.background_dispatch_window WHERE dispatch_key = $1`,
    [failed.dispatchKey],
  );
  expect(rows).toEqual([{ is_leased: true }]);
  await expire(failed.dispatchKey);
  expect(await t.ledger.windows.claim(failed)).toMatchObject({ outcome: "claimed", claimCount: 3 });
});
