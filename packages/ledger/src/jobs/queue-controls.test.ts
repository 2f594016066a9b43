import { randomUUID } from "node:crypto";

import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";

import { setup, type Setup } from "../testing/setup.ts";
import type { ClaimResult } from "./job.ts";
import type { OperatorQueue } from "./queue-controls.ts";

let t: Setup;
let operator: OperatorQueue;
beforeAll(async () => {
  t = await setup();
  operator = t.ledger.asOperator("night").queue;
});
beforeEach(async () => {
  await t.database.pool.query(
    `TRUNCATE evenkeel.background_job, evenkeel.background_job_limit, evenkeel.background_job_rotation`,
  );
});
afterAll(() => t.close());

async function isDue(types: readonly string[]): Promise<boolean> {
  return t.ledger.jobs.hasDue({ types });
}

const tenantsOf = ({ jobs }: ClaimResult): string[] =>
  jobs.map(({ tenantId }) => tenantId).toSorted();

test("what is paused is not claimed, nor due: the queue, a type, a tenant; expired leases neither", async () => {
  await t.insert("a", "t", 1);
  await t.insert("b", "t", 1);
  await t.insert("a", "u", 1);
  for (const [subject, claimable] of [
    ["queue", []],
    [{ type: "a" }, ["b t"]],
    [{ tenantId: "t" }, ["a u"]],
  ] as const) {
    await operator.pause(subject, { reason: "an incident" });
    expect(await isDue(["a", "b"])).toBe(claimable.length > 0);
    const { jobs } = await t.claim(["a", "b"], 10);
    expect(jobs.map(({ type, tenantId }) => `${type} ${tenantId}`)).toEqual(claimable);
    await t.ledger.jobs.settle(jobs.map(({ id, fence }) => ({ id, fence, kind: "released" })));
    await operator.resume(subject);
  }
  const held = await t.claim(["a", "b"], 10);
  expect(held.jobs).toHaveLength(3);
  await t.database.pool.query(
    `UPDATE evenkeel.background_job SET lease_expires_at = now() - interval '1 second'`,
  );
  await operator.pause({ tenantId: "t" });
  expect(tenantsOf(await t.claim(["a", "b"], 10))).toEqual(["u"]);
  expect(await isDue(["a", "b"])).toBe(false);
  await operator.resume({ tenantId: "t" });
  expect(await isDue(["a", "b"])).toBe(true);
  expect(tenantsOf(await t.claim(["a", "b"], 10))).toEqual(["t", "t"]);
});

test("what says nothing is deleted: after a resume, after a limit is lifted, and what a limit for all has left", async () => {
  const count = async (): Promise<number> => {
    const { rows } = await t.database.pool.query<{ count: number }>(
      `SELECT count(*)::int AS count FROM evenkeel.background_job_limit`,
    );
    return rows[0]?.count ?? -1;
  };
  for (const subject of ["queue", { type: "a" }, { tenantId: "t" }] as const) {
    await operator.pause(subject);
    expect(await operator.resume(subject)).toMatchObject({ paused: false, maxRunning: null });
    expect(await count()).toBe(0);
  }
  await operator.limit({ type: "a" }, { maxRunning: 2 });
  await operator.pause({ type: "a" });
  await operator.resume({ type: "a" });
  expect(await count()).toBe(1);
  await operator.limit({ type: "a" }, { maxRunning: null });
  expect(await count()).toBe(0);
  for (const tenant of ["t", "u", "v"]) await t.insert("a", tenant, 2);
  await operator.limit("every-tenant", { maxRunning: 1 });
  expect((await t.claim(["a"], 10)).jobs).toHaveLength(3);
  await operator.pause({ tenantId: "u" });
  expect(await count()).toBe(4);
  await operator.limit("every-tenant", { maxRunning: null });
  expect(await count()).toBe(1);
  await operator.resume({ tenantId: "u" });
  expect(await count()).toBe(0);
});

test("decisions are listed, audited and checked", async () => {
  const type = randomUUID();
  await operator.limit({ type }, { maxRunning: 2 }, { reason: "a slow provider" });
  await operator.pause({ type });
  await operator.limit("every-tenant", { rate: { jobs: 10, periodMs: 60_000 } });
  await operator.pause("queue");
  await operator.resume("queue");
  expect(await operator.limits()).toMatchObject([
    { kind: "EVERY_TENANT", subject: "", rate: { jobs: 10, periodMs: 60_000 } },
    { kind: "TYPE", subject: type, paused: true, pausedBy: "night", maxRunning: 2, rate: null },
  ]);
  const audit = await t.ledger.asOperator("night").audit({ subjectId: type });
  expect(audit.map(({ action, after }) => ({ action, after }))).toMatchObject([
    { action: "queue.pause", after: { paused: true, maxRunning: 2 } },
    { action: "queue.limit", after: { paused: false, maxRunning: 2 } },
  ]);
  for (const wrong of [
    { maxRunning: 0 },
    { maxRunning: 1.5 },
    { rate: { jobs: 1, periodMs: 10 } },
  ]) {
    await expect(operator.limit({ tenantId: "t" }, wrong)).rejects.toThrow(/Not a limit/u);
  }
  await expect(
    operator.limit({ type }, { rate: { jobs: 1, periodMs: 1_000 } }),
  ).rejects.toMatchObject({ code: "invalid_limit" });
});
