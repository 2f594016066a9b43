import { randomUUID } from "node:crypto";

import { afterAll, beforeAll, expect, test } from "vitest";

import { newJob } from "../testing/job-queue.ts";
import { setup, type Setup } from "../testing/setup.ts";
import type { Settlement } from "./job.ts";

let t: Setup;
beforeAll(async () => {
  t = await setup();
});
afterAll(() => t.close());

test("an expired lease goes to another under a higher fence, and what shows the old one is refused", async () => {
  const type = randomUUID();
  await t.ledger.jobs.insert(undefined, [newJob(type)]);
  const first = await t.claimFirst(type);
  expect((await t.claim([type], 10)).jobs).toEqual([]);
  await t.moveTime(type, "lease_expires_at");
  const second = await t.claimFirst(type);
  expect(BigInt(second.fence)).toBeGreaterThan(BigInt(first.fence));
  expect(second).toMatchObject({ id: first.id, attempt: 2, errors: [{ code: "lease_expired" }] });

  const late: Settlement[] = [
    { ...first, kind: "succeeded" },
    { ...first, kind: "retry", delayMs: 0, error: { code: "x", message: "x" } },
    { ...first, kind: "snooze", delayMs: 0 },
    { ...first, kind: "released" },
    { ...first, kind: "dead", reason: "terminal", error: { code: "x", message: "x" } },
    { ...first, kind: "cancelled" },
  ];
  for (const settlement of late)
    expect(await t.ledger.jobs.settle([settlement])).toEqual(new Set());
  expect(await t.ledger.jobs.heartbeat([first], 30_000)).toEqual(new Set());
  expect(await t.ledger.jobs.heartbeat([second], 30_000)).toEqual(new Set([second.id]));
  expect(await t.ledger.jobs.settle([{ ...second, kind: "succeeded" }])).toEqual(
    new Set([second.id]),
  );
  expect(await t.ledger.jobs.settle([{ ...second, kind: "succeeded" }])).toEqual(new Set());
  expect(await t.rowsOf("background_job_history", type)).toMatchObject([
    { outcome: "SUCCEEDED", attempt: 2 },
  ]);
  expect(await t.rowsOf("background_job", type)).toEqual([]);
  expect(await t.rowsOf("background_dead_letter", type)).toEqual([]);
});

test("a heartbeat keeps a lease that would have expired", async () => {
  const type = randomUUID();
  await t.ledger.jobs.insert(undefined, [newJob(type)]);
  const job = await t.claimFirst(type);
  await t.moveTime(type, "lease_expires_at");
  expect(await t.ledger.jobs.heartbeat([job], 30_000)).toEqual(new Set([job.id]));
  expect((await t.claim([type], 10)).jobs).toEqual([]);
});
