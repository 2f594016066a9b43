import { randomUUID } from "node:crypto";

import { afterAll, beforeAll, expect, test } from "vitest";

import { createLedger } from "../../ledger.ts";
import { setup, type Setup } from "../../testing/setup.ts";
import type { ClaimResult } from "../job.ts";

let t: Setup;
beforeAll(async () => {
  t = await setup();
});
afterAll(() => t.close());

const tenantsOf = ({ jobs }: ClaimResult): string[] => jobs.map(({ tenantId }) => tenantId);

test("8 concurrent claimers take every job, and none twice", async () => {
  const type = randomUUID();
  for (let n = 0; n < 20; n += 1) await t.insert(type, `t${n}`, 100);
  const claimers = Array.from({ length: 8 }, async (_, index) => {
    const { jobs: store } = createLedger({ pool: t.database.connect(1) });
    const request = { types: [type], limit: 25, leaseMs: 30_000, owner: `o${index}` };
    const ids: string[] = [];
    for (;;) {
      const { jobs: claimed } = await store.claim({ lane: "stable", ...request });
      if (claimed.length === 0) return ids;
      ids.push(...claimed.map(({ id }) => id));
    }
  });
  const ids = (await Promise.all(claimers)).flat();
  expect(ids).toHaveLength(2_000);
  expect(new Set(ids).size).toBe(2_000);
});

test("a tenant with one job behind another's 5,000 waits for two claims at most", async () => {
  for (const [big, small] of [
    ["a", "b"],
    ["b", "a"],
  ] as const) {
    for (const limit of [1, 2, 10, 500]) {
      const type = randomUUID();
      await t.insert(type, big, 5_000);
      await t.insert(type, small, 1);
      const first = await t.claim([type], limit);
      const second = await t.claim([type], limit, { afterTenant: first.lastTenant ?? "" });
      expect([...tenantsOf(first), ...tenantsOf(second)]).toContain(small);
      expect([first.jobs.length, second.jobs.length]).toEqual([limit, limit]);
    }
  }
});

test("a job left behind by a dead worker does not wait behind another tenant's many", async () => {
  const type = randomUUID();
  await t.insert(type, "many", 400);
  await t.claim([type], 400);
  await t.insert(type, "one", 1);
  await t.claim([type], 1);
  await t.insert(type, "pending", 1);
  await t.moveTime(type, "lease_expires_at");
  await t.ledger.jobs.hasDue({ types: [type] });
  const tenants = tenantsOf(await t.claim([type], 4));
  expect(tenants).toEqual(expect.arrayContaining(["many", "one", "pending"]));
});

test("a tenant's jobs are claimed in the order in which they are due", async () => {
  const type = randomUUID();
  const times = [5, 1, 4, 2, 3].map((minutes) => new Date(Date.UTC(2026, 0, 1, 0, minutes)));
  for (const runAt of times) await t.insert(type, "t", 1, { runAt });
  const claimed: Date[] = [];
  for (let turn = 0; turn < 5; turn += 1) {
    claimed.push(...(await t.claim([type], 1)).jobs.map(({ runAt }) => runAt));
  }
  expect(claimed).toEqual(times.toSorted((a, b) => a.getTime() - b.getTime()));
});

test("a due job is found behind more tenants with future work than one statement visits", async () => {
  const type = randomUUID();
  const future = { version: 1, payloadText: "{}", maxAttempts: 3 } as const;
  await t.ledger.jobs.insert(
    undefined,
    Array.from({ length: 4_500 }, (_, n) => {
      return { ...future, type, tenantId: `f${10_000 + n}`, delayMs: 3_600_000 };
    }),
  );
  const scope = { types: [type] };
  expect(await t.ledger.jobs.hasDue(scope)).toBe(false);
  expect(await t.claim([type], 10, { afterTenant: "f12" })).toMatchObject({ jobs: [] });
  await t.insert(type, "f12x", 1);
  for (const afterTenant of ["", "f11", "f12x", "f13", "z"]) {
    const { jobs } = await t.claim([type], 10, { afterTenant });
    expect(jobs.map(({ tenantId }) => tenantId)).toEqual(["f12x"]);
    expect(await t.ledger.jobs.hasDue(scope)).toBe(false);
    await t.ledger.jobs.settle(jobs.map(({ id, fence }) => ({ id, fence, kind: "released" })));
    expect(await t.ledger.jobs.hasDue(scope)).toBe(true);
  }
});

test("what dead workers left takes no more of a claim than its tenant's share", async () => {
  const type = randomUUID();
  await t.insert(type, "a", 20);
  await t.claim([type], 20);
  await t.moveTime(type, "lease_expires_at");
  await t.ledger.jobs.hasDue({ types: [type] });
  await t.insert(type, "b", 20);
  const tenants = tenantsOf(await t.claim([type], 10));
  expect(tenants.filter((tenant) => tenant === "a")).toHaveLength(5);
  expect(tenants.filter((tenant) => tenant === "b")).toHaveLength(5);
});

test("work left behind and work that waits take turns in claims of one job, of either tenant", async () => {
  for (const [left, waits] of [
    ["big", "small"],
    ["small", "big"],
  ] as const) {
    const type = randomUUID();
    await t.insert(type, left, left === "big" ? 40 : 1);
    await t.claim([type], 40);
    await t.moveTime(type, "lease_expires_at");
    await t.ledger.jobs.hasDue({ types: [type] });
    await t.insert(type, waits, waits === "big" ? 40 : 1);
    const first = [await t.claim([type], 1), await t.claim([type], 1), await t.claim([type], 1)];
    expect(first.flatMap(tenantsOf)).toEqual(expect.arrayContaining(["big", "small"]));
    let taken = 3;
    while ((await t.claim([type], 1)).jobs.length > 0) taken += 1;
    expect(taken).toBe(41);
  }
});

test("nothing is asked for: nothing is claimed", async () => {
  const type = randomUUID();
  await t.insert(type, "t", 1);
  expect(await t.claim([], 10)).toEqual({ jobs: [], throttled: false });
  expect(await t.claim([type], 0)).toEqual({ jobs: [], throttled: false });
});
