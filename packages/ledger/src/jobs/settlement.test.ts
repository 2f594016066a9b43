import { randomUUID } from "node:crypto";

import { afterAll, beforeAll, expect, test } from "vitest";

import { newJob } from "../testing/job-queue.ts";
import { setup, type Setup } from "../testing/setup.ts";

let t: Setup;
beforeAll(async () => {
  t = await setup();
});
afterAll(() => t.close());

test("of concurrent settlements under one fence one is accepted", async () => {
  const type = randomUUID();
  await t.ledger.jobs.insert(undefined, [newJob(type)]);
  const job = await t.claimFirst(type);
  const error = { code: "x", message: "x" };
  const settled = await Promise.all(
    Array.from({ length: 10 }, (_, n) =>
      t.ledger.jobs.settle([
        n % 2 === 0
          ? { ...job, kind: "succeeded" }
          : { ...job, kind: "dead", reason: "terminal", error },
      ]),
    ),
  );
  expect(settled.filter((accepted) => accepted.size === 1)).toHaveLength(1);
  expect(await t.rowsOf("background_job_history", type)).toHaveLength(1);
});

test("a retry counts its attempt and waits; a snooze and a release do not count theirs", async () => {
  const type = randomUUID();
  await t.ledger.jobs.insert(undefined, [newJob(type)]);
  const error = { code: "x", message: "postgresql://app:hunter2@db failed" };
  await t.ledger.jobs.settle([
    { ...(await t.claimFirst(type)), kind: "retry", delayMs: 60_000, error },
  ]);
  expect((await t.claim([type], 10)).jobs).toEqual([]);
  expect(await t.rowsOf("background_job", type)).toMatchObject([
    { state: "SCHEDULED", attempt: 1, owner: null, lease_expires_at: null },
  ]);
  await t.moveTime(type, "run_at");
  await t.ledger.jobs.settle([{ ...(await t.claimFirst(type)), kind: "snooze", delayMs: 60_000 }]);
  expect((await t.claim([type], 10)).jobs).toEqual([]);
  await t.moveTime(type, "run_at");
  await t.ledger.jobs.settle([{ ...(await t.claimFirst(type)), kind: "released" }]);
  const job = await t.claimFirst(type);
  expect(job).toMatchObject({ attempt: 2, errors: [{ attempt: 1, code: "x" }] });
  expect(JSON.stringify(job.errors)).not.toContain("hunter2");
});

test("the errors of the last 20 attempts are kept", async () => {
  const type = randomUUID();
  await t.ledger.jobs.insert(undefined, [newJob(type, { maxAttempts: 30 })]);
  for (let attempt = 1; attempt <= 23; attempt += 1) {
    const job = await t.claimFirst(type);
    const error = { code: "x", message: `attempt ${attempt}` };
    await t.ledger.jobs.settle([{ ...job, kind: "retry", delayMs: 0, error }]);
    await t.moveTime(type, "run_at");
  }
  const { errors } = await t.claimFirst(type);
  expect(errors).toHaveLength(20);
  expect(errors.map(({ attempt }) => attempt)).toEqual(Array.from({ length: 20 }, (_, n) => n + 4));
});

test("a dead job leaves a letter with its reason, payload and history", async () => {
  const type = randomUUID();
  await t.ledger.jobs.insert(undefined, [newJob(type, { tenantId: "acme" })]);
  const job = await t.claimFirst(type);
  const error = { code: "E_CLOSED", message: "The mailbox was closed." };
  await t.ledger.jobs.settle([{ ...job, kind: "dead", reason: "terminal", error }]);
  expect(await t.rowsOf("background_dead_letter", type)).toMatchObject([
    {
      kind: "JOB",
      source_id: job.id,
      tenant_id: "acme",
      reason: "terminal",
      error: "The mailbox was closed.",
      payload: { n: 1 },
      history: [{ attempt: 1, code: "E_CLOSED" }],
      status: "OPEN",
    },
  ]);
});

test("a result that cannot be kept is dropped, and the job has succeeded all the same", async () => {
  const type = randomUUID();
  const results = [
    { kept: true },
    "x".repeat(64 * 1024),
    10n,
    "NUL \u0000",
    () => 1,
    null,
    undefined,
  ];
  await t.ledger.jobs.insert(
    undefined,
    results.map(() => newJob(type)),
  );
  const jobs = (await t.claim([type], 10)).jobs;
  const accepted = await t.ledger.jobs.settle(
    jobs.map((job, place) => ({ ...job, kind: "succeeded", result: results[place] })),
  );
  expect(accepted.size).toBe(results.length);
  const rows = await t.rowsOf<{ result: unknown }>("background_job_history", type);
  // A NUL is replaced, as text without it can be kept.
  expect(rows.flatMap(({ result }) => (result === null ? [] : [result]))).toEqual(
    expect.arrayContaining([{ kept: true }, "NUL \ufffd"]),
  );
  expect(rows.filter(({ result }) => result === null)).toHaveLength(results.length - 2);
  expect(rows).toHaveLength(results.length);
});

test("a batch of successes that names a job twice, under an old fence too, settles it once", async () => {
  const type = randomUUID();
  const job = { tenantId: "t", type, version: 1, payloadText: "{}", maxAttempts: 3 } as const;
  await t.ledger.jobs.insert(undefined, [job]);
  const request = { lane: "stable", types: [type], limit: 1, leaseMs: 30_000, owner: "o" } as const;
  const [claimed] = (await t.ledger.jobs.claim(request)).jobs;
  const { id, fence } = claimed ?? { id: "", fence: "0" };
  const success = { id, kind: "succeeded" } as const;
  const stale = { ...success, fence: String(Number(fence) - 1), result: "stale" };
  const current = { ...success, fence, result: "current" };
  expect(await t.ledger.jobs.settle([stale, current, current])).toEqual(new Set([id]));
  expect(await t.ledger.forTenant("t").jobs.find(id)).toMatchObject({
    status: "SUCCEEDED",
    result: "current",
  });
});
