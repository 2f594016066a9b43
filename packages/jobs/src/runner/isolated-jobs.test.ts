import { afterEach, beforeEach, expect, test } from "vitest";
import { z } from "zod";

import { defineJob, type JobDefinition } from "../definition/job-definition.ts";
import { handleJob } from "../definition/job-handler.ts";
import { fixed } from "../definition/retry-policy.ts";
import { enqueue } from "../enqueue.ts";
import { rescheduleJob } from "../job-changes.ts";
import { setup, type Setup } from "../testing/setup.ts";
import type { RequestRuns, IsolatedJob } from "./isolated-jobs.ts";
import { createRunner, type Runner } from "./runner.ts";

const payload: z.ZodObject<{ n: z.ZodNumber }> = z.object({ n: z.number() });
const exportJob: JobDefinition<typeof payload> = defineJob({
  type: "export",
  version: 1,
  payload,
  isolated: true,
  retry: fixed({ maxAttempts: 3, delayMs: 0 }),
});

let t: Setup;
let ran: number;
let failures: number;
let runner: Runner;
let asked: IsolatedJob[];
beforeEach(async () => {
  t = await setup();
  ran = 0;
  failures = 0;
  asked = [];
  const handler = handleJob(exportJob, async () => {
    ran += 1;
    if (ran <= failures) throw new Error("not yet");
  });
  runner = createRunner({ ledger: t.ledger, handlers: [handler], owner: "o" });
});
afterEach(() => t.close());

const requestRuns: RequestRuns = async (jobs) => void asked.push(...jobs);

async function add(): Promise<string> {
  return (await enqueue(t.database.pool, exportJob, { tenantId: "t", payload: { n: 1 } })).id;
}

async function dueInMinutes(id: string): Promise<number> {
  const explained = await t.ledger.forTenant("t").jobs.explain(id);
  return Math.round((explained?.dueInMs ?? 0) / 60_000);
}

test("a drain delegates an isolated job; its run claims it by its fence, once", async () => {
  const id = await add();
  const report = await runner.drain({ budgetMs: 60_000, requestRuns });
  expect(report).toMatchObject({ claimed: 1, delegated: 1, succeeded: 0, remaining: false });
  const [{ fence } = { fence: "" }] = asked;
  expect(fence).toMatch(/001$/u);
  expect(asked).toMatchObject([{ id, tenantId: "t", type: "export", lane: "stable" }]);
  expect(await dueInMinutes(id)).toBe(5);
  expect(await runner.runOne({ id, fence: "0" })).toMatchObject({ claimed: 0 });
  expect(await runner.runOne({ id, fence })).toMatchObject({ claimed: 1, succeeded: 1 });
  expect(await runner.runOne({ id, fence })).toMatchObject({ claimed: 0 });
  expect(ran).toBe(1);
  expect(await t.history()).toMatchObject([{ id, outcome: "SUCCEEDED", attempt: 1 }]);
});

test("a run that begins before its delegation is written has the job, in the same attempt", async () => {
  const id = await add();
  const report = await runner.drain({
    budgetMs: 60_000,
    requestRuns: async ([job]) => {
      expect(await runner.runOne({ id, fence: job?.fence ?? "" })).toMatchObject({ succeeded: 1 });
    },
  });
  expect(report).toMatchObject({ claimed: 1, delegated: 1, lost: 0 });
  expect(await t.history()).toMatchObject([{ outcome: "SUCCEEDED", attempt: 1 }]);
});

test("what cannot be delegated waits a moment; what never starts is delegated again, later each time", async () => {
  const id = await add();
  const fails: RequestRuns = () => Promise.reject(new Error("Inngest is unavailable."));
  expect(await runner.drain({ budgetMs: 60_000, requestRuns: fails })).toMatchObject({
    claimed: 1,
    snoozed: 1,
    delegated: 0,
  });
  expect(await dueInMinutes(id)).toBe(0);
  for (const minutes of [10, 20]) {
    await t.makeDue();
    await runner.drain({ budgetMs: 60_000, requestRuns });
    expect(await dueInMinutes(id)).toBe(minutes);
  }
  const [first, second] = asked;
  expect(await runner.runOne(first ?? { id: "0", fence: "0" })).toMatchObject({ claimed: 0 });
  expect(await runner.runOne(second ?? { id: "0", fence: "0" })).toMatchObject({ succeeded: 1 });
  expect(await t.history()).toMatchObject([{ attempt: 1, errors: [] }]);
});

test("a failed attempt and a dead worker of a run are followed by another delegation", async () => {
  failures = 1;
  const id = await add();
  await runner.drain({ budgetMs: 60_000, requestRuns });
  const [delegated = { id, fence: "" }] = asked;
  expect(await runner.runOne(delegated)).toMatchObject({ retried: 1 });
  await runner.drain({ budgetMs: 60_000, requestRuns });
  const { fence = "" } = asked.at(-1) ?? {};
  // A worker that claimed it and died.
  const request = { lane: "stable", types: ["export"], leaseMs: 60_000, owner: "dead" } as const;
  const held = await t.ledger.jobs.claimById({ id, fence, ...request });
  expect(held).toMatchObject({ attempt: 2 });
  await t.ledger.jobs.start(held === undefined ? [] : [held]);
  await t.expireLeases();
  await runner.drain({ budgetMs: 60_000, requestRuns });
  expect(await runner.runOne(asked.at(-1) ?? { id, fence: "" })).toMatchObject({ succeeded: 1 });
  expect(asked).toHaveLength(3);
  expect(await t.history()).toMatchObject([{ outcome: "SUCCEEDED", attempt: 3 }]);
});

test("without anyone to delegate to, a drain runs an isolated job itself; what is paused is not claimed", async () => {
  const id = await add();
  await runner.drain({ budgetMs: 60_000, requestRuns });
  const [{ fence } = { fence: "" }] = asked;
  const operator = t.ledger.asOperator("night").queue;
  for (const subject of ["queue", { type: "export" }, { tenantId: "t" }] as const) {
    await operator.pause(subject);
    expect(await runner.runOne({ id, fence })).toMatchObject({ claimed: 0 });
    await operator.resume(subject);
  }
  await t.makeDue();
  expect(await runner.drain({ budgetMs: 60_000 })).toMatchObject({ succeeded: 1, delegated: 0 });
});

test("a delegated job that is put to another time, or replaced, is left alone by the run that was asked for", async () => {
  const { pool } = t.database;
  const unique = { key: "k", debounce: { delayMs: 3_600_000, maxMs: 7_200_000 } };
  const input = { tenantId: "t", payload: { n: 1 }, unique };
  const changes = [
    async (id: string) => rescheduleJob(pool, { tenantId: "t", id }, { delayMs: 3_600_000 }),
    async () => enqueue(pool, exportJob, input),
  ];
  for (const [n, change] of changes.entries()) {
    const { id } = await enqueue(pool, exportJob, input);
    await t.makeDue();
    await runner.drain({ budgetMs: 60_000, requestRuns });
    const { fence = "" } = asked.at(-1) ?? {};
    expect(await change(id)).toMatchObject({ id });
    expect(await runner.runOne({ id, fence })).toMatchObject({ claimed: 0 });
    expect(await dueInMinutes(id)).toBe(60);
    await t.makeDue();
    expect(await runner.drain({ budgetMs: 60_000, requestRuns })).toMatchObject({ delegated: 1 });
    expect(await dueInMinutes(id)).toBe(5);
    expect(await runner.runOne(asked.at(-1) ?? { id, fence })).toMatchObject({ succeeded: 1 });
    expect(ran).toBe(n + 1);
  }
});
