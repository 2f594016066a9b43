import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { createLedger } from "@evenkeel/ledger";
import { expect, test } from "vitest";

import { defineJob } from "../definition/job-definition.ts";
import { handleJob } from "../definition/job-handler.ts";
import { fixed } from "../definition/retry-policy.ts";
import { enqueueMany } from "../enqueue.ts";
import { countJob } from "../testing/count-job.ts";
import { enqueueCounts, setup, type Setup } from "../testing/setup.ts";
import type { DrainReport } from "./drain-report.ts";
import { createRunner } from "./runner.ts";

const workerPath = fileURLToPath(new URL("../testing/worker-process.ts", import.meta.url));

function startWorker(t: Setup, mode: "hold" | "die" | "poison"): ChildProcess {
  const { databaseUrl } = t.database;
  return spawn(process.execPath, ["--conditions=@evenkeel/source", workerPath, databaseUrl, mode], {
    stdio: ["ignore", "pipe", "inherit"],
  });
}

/** Resolves when the worker has ended, and Postgres is done with what it still asked. */
async function awaitEnd(t: Setup, worker: ChildProcess): Promise<unknown> {
  const [, signal] = await once(worker, "exit");
  for (;;) {
    const { rows } = await t.database.pool.query(
      `SELECT FROM "pg_stat_activity"
       WHERE "datname" = current_database() AND "application_name" = 'evenkeel'`,
    );
    if (rows.length === 0) return signal;
  }
}

/** Resolves when the worker has begun so many jobs. */
async function awaitStarts(worker: ChildProcess, count: number): Promise<void> {
  if (worker.stdout === null) throw new Error("The worker has no output.");
  let starts = 0;
  for await (const line of createInterface({ input: worker.stdout })) {
    if (line === "started") starts += 1;
    if (starts === count) return;
  }
  throw new Error(`The worker ended after ${starts} of ${count} starts.`);
}

async function drainWith(t: Setup, ran: number[]): Promise<DrainReport> {
  const handler = handleJob(countJob, async ({ payload }) => {
    ran.push(payload.n);
  });
  return createRunner({ ledger: t.ledger, handlers: [handler], owner: "survivor" }).drain({
    budgetMs: 60_000,
  });
}

function sumOf(report: DrainReport): number {
  const { succeeded, retried, snoozed, dead, lost, released } = report;
  return succeeded + retried + snoozed + dead + lost + released;
}

test("the jobs of a worker killed in mid-job are run by another once their leases expire", async () => {
  await using t = await setup();
  await enqueueCounts(t, 5);
  const worker = startWorker(t, "hold");
  const ended = awaitEnd(t, worker);
  await awaitStarts(worker, 5);
  worker.kill("SIGKILL");
  await ended;

  const ran: number[] = [];
  // Until then they are its own.
  expect(await drainWith(t, ran)).toMatchObject({ claimed: 0, remaining: false });
  await t.expireLeases();
  expect(await drainWith(t, ran)).toMatchObject({ claimed: 5, succeeded: 5, remaining: false });
  expect(ran.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4]);
  const history = await t.history();
  expect(history).toHaveLength(5);
  for (const row of history) {
    expect(row).toMatchObject({
      outcome: "SUCCEEDED",
      attempt: 2,
      errors: [{ code: "lease_expired", message: expect.stringContaining(`child-${worker.pid}`) }],
    });
  }
});

test("a job that kills its worker each time ends in the dead letters", async () => {
  await using t = await setup();
  await enqueueCounts(t, 1);
  for (let attempt = 1; attempt <= countJob.retry.maxAttempts; attempt += 1) {
    expect(await awaitEnd(t, startWorker(t, "die"))).toBe("SIGKILL");
    expect(await t.ledger.jobs.counts()).toMatchObject({ running: 1, due: 0 });
    await t.expireLeases();
  }
  const ran: number[] = [];
  expect(await drainWith(t, ran)).toMatchObject({ claimed: 1, dead: 1, remaining: false });
  expect(ran).toEqual([]);
  expect(await t.deadLetters()).toMatchObject([{ reason: "poison" }]);
  const expires = [1, 2, 3].map((attempt) => ({ attempt, code: "lease_expired" }));
  expect((await t.history())[0]?.errors.slice(0, 3)).toMatchObject(expires);
});

/** Of the type that workers know, with attempts enough for any number of crashes. */
const sturdy = defineJob({
  type: "count",
  version: 1,
  payload: countJob.payload,
  retry: fixed({ maxAttempts: 20, delayMs: 0 }),
});

function enqueueSturdy(t: Setup, count: number): Promise<unknown> {
  const inputs = Array.from({ length: count }, (_, n) => ({ tenantId: "t", payload: { n } }));
  return enqueueMany(t.database.pool, sturdy, inputs);
}

test("what runs beside a job that kills its workers does not end as poison with it", async () => {
  await using t = await setup();
  await enqueueSturdy(t, 10);
  let deaths = 0;
  for (let isDone = false; !isDone;) {
    if ((await awaitEnd(t, startWorker(t, "poison"))) === "SIGKILL") deaths += 1;
    await t.expireLeases();
    isDone = (await t.history()).length === 10;
  }
  expect(deaths).toBe(countJob.maxCrashes);
  const history = await t.history();
  expect(history.map(({ outcome }) => outcome).toSorted()).toEqual([
    "DEAD",
    ...Array.from({ length: 9 }, () => "SUCCEEDED"),
  ]);
  expect(await t.deadLetters()).toMatchObject([{ reason: "poison" }]);
});

test("jobs that dying workers held and never started are no cause of it", async () => {
  await using t = await setup();
  await enqueueSturdy(t, 10);
  const request = { lane: "stable", types: ["count"], leaseMs: 30_000, owner: "o" } as const;
  const claimed = new Set<string>();
  for (let worker = 1; worker <= 10; worker += 1) {
    const { jobs } = await t.ledger.jobs.claim({ ...request, limit: 10 });
    jobs.forEach(({ id }) => claimed.add(id));
    await t.expireLeases();
  }
  expect(claimed.size).toBe(10);
  expect(await drainWith(t, [])).toMatchObject({ succeeded: 10, dead: 0 });
});

test("jobs that may be what workers died of run one at a time in a process, each once its start is on record", async () => {
  await using t = await setup();
  await enqueueSturdy(t, 8);
  await t.database.pool.query(`UPDATE "evenkeel"."background_job" SET "crashes" = 2`);
  const running = new Set<number>();
  const most: number[] = [];
  const onRecord: unknown[] = [];
  const handler = handleJob(countJob, async ({ id, payload }) => {
    running.add(payload.n);
    most.push(running.size);
    const { rows } = await t.database.pool.query<{ isStarted: boolean }>(
      `SELECT started_at IS NOT NULL AS "isStarted" FROM "evenkeel"."background_job" WHERE "id" = $1`,
      [id],
    );
    onRecord.push(rows[0]?.isStarted);
    running.delete(payload.n);
  });
  const runner = createRunner({ ledger: t.ledger, handlers: [handler], owner: "o" });
  const reports = await Promise.all([
    runner.drain({ budgetMs: 60_000, maxJobs: 4 }),
    runner.drain({ budgetMs: 60_000, maxJobs: 4 }),
  ]);
  expect(reports.map(({ succeeded }) => succeeded)).toEqual([4, 4]);
  expect(most).toEqual(Array.from({ length: 8 }, () => 1));
  expect(onRecord).toEqual(Array.from({ length: 8 }, () => true));
});

test("what is released without a start keeps its count of crashes", async () => {
  await using t = await setup();
  await enqueueSturdy(t, 2);
  await t.database.pool.query(`UPDATE "evenkeel"."background_job" SET "crashes" = 2`);
  const stop = new AbortController();
  const handler = handleJob(countJob, async () => stop.abort());
  const runner = createRunner({ ledger: t.ledger, handlers: [handler], owner: "o" });
  const report = await runner.drain({ budgetMs: 60_000, maxJobs: 2, stopSignal: stop.signal });
  expect(report).toMatchObject({ succeeded: 1, released: 1 });
  const { rows } = await t.database.pool.query(
    `SELECT "crashes", "attempt" FROM "evenkeel"."background_job"`,
  );
  expect(rows).toEqual([{ crashes: 2, attempt: 0 }]);
});

test("an attempt that ends starts the count of crashes anew", async () => {
  await using t = await setup();
  await enqueueSturdy(t, 1);
  const flaky = handleJob(sturdy, async () => {
    throw new Error("It failed, and its worker lived.");
  });
  const claim = {
    lane: "stable",
    types: ["count"],
    limit: 1,
    leaseMs: 30_000,
    owner: "o",
  } as const;
  const crash = async (): Promise<number | undefined> => {
    const { jobs } = await t.ledger.jobs.claim(claim);
    await t.ledger.jobs.start(jobs);
    await t.expireLeases();
    return jobs[0]?.crashes;
  };
  expect(await crash()).toBe(0);
  const runner = createRunner({ ledger: t.ledger, handlers: [flaky], owner: "o" });
  expect(await runner.drain({ budgetMs: 60_000, maxJobs: 1 })).toMatchObject({ retried: 1 });
  expect(await crash()).toBe(0);
  expect(await crash()).toBe(1);
});

test("a killed worker ends jobs of one attempt that it had started, and none that it only held", async () => {
  await using t = await setup();
  const once = defineJob({
    type: "count",
    version: 1,
    payload: countJob.payload,
    retry: fixed({ maxAttempts: 1, delayMs: 0 }),
  });
  const inputs = Array.from({ length: 50 }, (_, n) => ({ tenantId: "t", payload: { n } }));
  await enqueueMany(t.database.pool, once, inputs);
  const request = { lane: "stable", types: ["count"], leaseMs: 30_000, owner: "o" } as const;
  const { jobs } = await t.ledger.jobs.claim({ ...request, limit: 20 });
  await t.ledger.jobs.start(jobs.slice(0, 3));
  // Of the other thirty a tenant alone gets seven of ten slots.
  const worker = startWorker(t, "hold");
  const ended = awaitEnd(t, worker);
  await awaitStarts(worker, 7);
  worker.kill("SIGKILL");
  await ended;
  await t.expireLeases();
  const ran: number[] = [];
  expect(await drainWith(t, ran)).toMatchObject({ claimed: 50, succeeded: 40, dead: 10 });
  expect(new Set(ran).size).toBe(40);
  const history = await t.history();
  // No attempt is counted that was not begun.
  expect(history.map(({ attempt }) => attempt)).toEqual(inputs.map(() => 1));
  const letters = await t.deadLetters();
  expect(letters.map(({ reason }) => reason)).toEqual(letters.map(() => "exhausted"));
});

test("connections cut in mid-drain lose no job and settle none twice", async () => {
  await using t = await setup();
  await enqueueCounts(t, 300);
  const ran = new Set<number>();
  const handler = handleJob(countJob, async ({ payload }) => {
    ran.add(payload.n);
    if (payload.n % 50 !== 25) return;
    await t.database.pool.query(
      `SELECT pg_terminate_backend("pid") FROM "pg_stat_activity"
       WHERE "datname" = current_database() AND "application_name" = 'evenkeel'`,
    );
  });
  // Its own connections, which Postgres knows by the name that the ledger gives them.
  const ledger = createLedger({ databaseUrl: t.database.databaseUrl, maxConnections: 4 });
  const runner = createRunner({ ledger, handlers: [handler], owner: "r" });
  // No job has more than three attempts, so a few rounds end them all.
  const unaccounted: DrainReport[] = [];
  for (let round = 0; round < 20; round += 1) {
    const report = await runner.drain({ budgetMs: 60_000 }).catch(() => undefined);
    if (report !== undefined && sumOf(report) !== report.claimed) unaccounted.push(report);
    await t.expireLeases();
    await t.makeDue();
    const { due, running } = await t.ledger.jobs.counts();
    if (due + running === 0) break;
  }
  await ledger.close();
  expect(unaccounted).toEqual([]);
  const history = await t.history();
  expect(history).toHaveLength(300);
  expect(new Set(history.map(({ id }) => id)).size).toBe(300);
  expect(ran.size).toBe(300);
  expect(await t.ledger.jobs.counts()).toMatchObject({ due: 0, scheduled: 0, running: 0 });
  // A job whose attempts were all cut off is dead, with a letter.
  const dead = history.filter(({ outcome }) => outcome === "DEAD").length;
  expect(await t.deadLetters()).toHaveLength(dead);
});

test("one settlement that the database cannot take does not hold up the others", async () => {
  await using t = await setup();
  await enqueueCounts(t, 40);
  await t.database.pool.query(
    `ALTER TABLE "evenkeel"."background_job_history" ADD CHECK ("result" IS DISTINCT FROM '17')`,
  );
  const handler = handleJob(countJob, async ({ payload }) => payload.n);
  const runner = createRunner({ ledger: t.ledger, handlers: [handler], owner: "r" });
  const first = await runner.drain({ budgetMs: 60_000 });
  expect(first).toMatchObject({ claimed: 40, succeeded: 39, lost: 1 });
  for (let attempt = 2; attempt <= 3; attempt += 1) {
    await t.expireLeases();
    expect(await runner.drain({ budgetMs: 60_000 })).toMatchObject({ claimed: 1, lost: 1 });
  }
  await t.expireLeases();
  expect(await runner.drain({ budgetMs: 60_000 })).toMatchObject({ claimed: 1, dead: 1 });
  expect(await t.deadLetters()).toMatchObject([{ reason: "poison" }]);
});

test("settlements that were written and whose response was lost count as what they are", async () => {
  await using t = await setup();
  await enqueueCounts(t, 3);
  const { jobs } = t.ledger;
  let losses = 2;
  const settle: typeof jobs.settle = async (...request) => {
    const accepted = await jobs.settle(...request);
    losses -= 1;
    if (losses >= 0) throw Object.assign(new Error("connection reset"), { code: "ECONNRESET" });
    return accepted;
  };
  const handler = handleJob(countJob, async () => {});
  const ledger = { jobs: { ...jobs, settle } };
  const runner = createRunner({ ledger, handlers: [handler], owner: "r" });
  expect(await runner.drain({ budgetMs: 60_000 })).toMatchObject({ succeeded: 3, lost: 0 });
  expect(await t.history()).toHaveLength(3);
});
