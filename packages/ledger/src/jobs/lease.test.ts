import { randomUUID } from "node:crypto";

import { afterAll, beforeAll, expect, test } from "vitest";

import { newJob, openJobQueue, type JobQueue } from "../testing/job-queue.ts";
import type { Settlement } from "./job.ts";

let queue: JobQueue;
beforeAll(async () => {
  queue = await openJobQueue();
});
afterAll(() => queue.close());

test("an expired lease goes to another under a higher fence, and what shows the old one is refused", async () => {
  const type = randomUUID();
  await queue.ledger.jobs.insert(undefined, [newJob(type)]);
  const first = await queue.claimFirst(type);
  expect((await queue.claim([type], 10)).jobs).toEqual([]);
  await queue.moveTime(type, "lease_expires_at");
  const second = await queue.claimFirst(type);
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
    expect(await queue.ledger.jobs.settle([settlement])).toEqual(new Set());
  expect(await queue.ledger.jobs.heartbeat([first], 30_000)).toEqual(new Set());
  expect(await queue.ledger.jobs.heartbeat([second], 30_000)).toEqual(new Set([second.id]));
  expect(await queue.ledger.jobs.settle([{ ...second, kind: "succeeded" }])).toEqual(
    new Set([second.id]),
  );
  expect(await queue.ledger.jobs.settle([{ ...second, kind: "succeeded" }])).toEqual(new Set());
  expect(await queue.rowsOf("background_job_history", type)).toMatchObject([
    { outcome: "SUCCEEDED", attempt: 2 },
  ]);
  expect(await queue.rowsOf("background_job", type)).toEqual([]);
  expect(await queue.rowsOf("background_dead_letter", type)).toEqual([]);
});

test("a heartbeat keeps a lease that would have expired", async () => {
  const type = randomUUID();
  await queue.ledger.jobs.insert(undefined, [newJob(type)]);
  const job = await queue.claimFirst(type);
  await queue.moveTime(type, "lease_expires_at");
  expect(await queue.ledger.jobs.heartbeat([job], 30_000)).toEqual(new Set([job.id]));
  expect((await queue.claim([type], 10)).jobs).toEqual([]);
});
