import { expect, test } from "vitest";

import { SnoozeError } from "../definition/attempt-error.ts";
import { defineJob } from "../definition/job-definition.ts";
import { handleJob } from "../definition/job-handler.ts";
import { fixed } from "../definition/retry-policy.ts";
import { enqueueMany } from "../enqueue.ts";
import { countJob } from "../testing/count-job.ts";
import { createManualClock } from "../testing/manual-clock.ts";
import { enqueueCounts, setup, type Setup } from "../testing/setup.ts";
import { createRunner, type RunnerOptions } from "./runner.ts";

type JobStore = RunnerOptions["ledger"]["jobs"];

/** Longer than any pause of a slow machine. */
const leaseMs = 3_600_000;
const budget = { budgetMs: 3_600_000 };

/** The ledger's store, with another way to put starts on record. */
function storeWith(t: Setup, start: JobStore["start"]): JobStore {
  return { ...t.ledger.jobs, start };
}

test("a handler starts after the ledger has answered that its start is on record", async () => {
  await using t = await setup();
  await enqueueCounts(t, 3);
  const events: string[] = [];
  const start: JobStore["start"] = async (claims) => {
    events.push(`asked for ${claims.length}`);
    const held = await t.ledger.jobs.start(claims);
    events.push(`answered for ${held.size}`);
    return held;
  };
  const handler = handleJob(countJob, async ({ attempt }) => void events.push(`run ${attempt}`));
  const options = { handlers: [handler], owner: "r", leaseMs };
  const runner = createRunner({ ledger: { jobs: storeWith(t, start) }, ...options });
  expect(await runner.drain(budget)).toMatchObject({ succeeded: 3 });
  expect(events).toEqual(["asked for 3", "answered for 3", "run 1", "run 1", "run 1"]);
});

test("no handler starts after an abort or a stop, though its start be on record only then", async () => {
  await using t = await setup();
  for (const name of ["signal", "stopSignal"] as const) {
    await enqueueCounts(t, 3, name);
    let ran = 0;
    const asked = Promise.withResolvers<undefined>();
    const answered = Promise.withResolvers<undefined>();
    const marked: number[] = [];
    const start: JobStore["start"] = async (claims) => {
      const held = await t.ledger.jobs.start(claims);
      marked.push(held.size);
      asked.resolve(undefined);
      await answered.promise;
      return held;
    };
    const handler = handleJob(countJob, async () => {
      ran += 1;
    });
    const options = { handlers: [handler], owner: "r", leaseMs };
    const end = new AbortController();
    let hasEnded = false;
    const draining = createRunner({ ledger: { jobs: storeWith(t, start) }, ...options })
      .drain({ ...budget, maxJobs: 3, [name]: end.signal })
      .finally(() => {
        hasEnded = true;
      });
    await asked.promise;
    end.abort();
    // Others may have them at once, and the drain waits for the answer nevertheless.
    while ((await t.ledger.jobs.counts()).due < 3);
    expect(hasEnded).toBe(false);
    answered.resolve(undefined);
    expect(await draining).toMatchObject({ claimed: 3, released: 3, stopped: true });
    expect({ ran, marked }).toEqual({ ran: 0, marked: [3] });
    const { rows } = await t.database.pool.query(
      `SELECT DISTINCT state, attempt, crashes FROM evenkeel.background_job`,
    );
    expect(rows).toEqual([{ state: "PENDING", attempt: 0, crashes: 0 }]);
    const other = createRunner({ ledger: t.ledger, ...options });
    expect(await other.drain(budget)).toMatchObject({ succeeded: 3 });
  }
});

test("a job that is another's when it should start is not started", async () => {
  await using t = await setup();
  await enqueueCounts(t, 2);
  const ran: number[] = [];
  const start: JobStore["start"] = async (claims) => {
    const held = await t.ledger.jobs.start(claims);
    return new Set([...held].slice(1));
  };
  const handler = handleJob(countJob, async ({ payload }) => void ran.push(payload.n));
  const options = { handlers: [handler], owner: "r", leaseMs };
  const runner = createRunner({ ledger: { jobs: storeWith(t, start) }, ...options });
  expect(await runner.drain(budget)).toMatchObject({ claimed: 2, succeeded: 1, lost: 1 });
  expect(ran).toHaveLength(1);
});

test("a job whose start cannot be put on record is released after half a lease, and not run", async () => {
  await using t = await setup();
  await enqueueCounts(t, 2);
  const clock = createManualClock();
  let ran = 0;
  const start: JobStore["start"] = async () => {
    throw new Error("connection reset");
  };
  // Time stands still while the ledger is asked: no lease ends because a machine is slow.
  let underWay = 0;
  const noted = async <Response>(call: Promise<Response>): Promise<Response> => {
    underWay += 1;
    return call.finally(() => {
      underWay -= 1;
    });
  };
  const jobs: JobStore = {
    ...storeWith(t, start),
    claim: (...request) => noted(t.ledger.jobs.claim(...request)),
    standingOf: (...request) => noted(t.ledger.jobs.standingOf(...request)),
    heartbeat: (...request) => noted(t.ledger.jobs.heartbeat(...request)),
    settle: (...request) => noted(t.ledger.jobs.settle(...request)),
  };
  const handler = handleJob(countJob, async () => {
    ran += 1;
  });
  const options = { handlers: [handler], owner: "r", leaseMs, clock };
  const runner = createRunner({ ledger: { jobs }, ...options });
  const end = new AbortController();
  const draining = runner.drain({ ...budget, maxJobs: 2 }).finally(() => end.abort());
  while (!end.signal.aborted) {
    await t.ledger.jobs.hasPoller("stable");
    if (underWay === 0) clock.advance(20_000);
  }
  expect(clock.now()).toBeGreaterThanOrEqual(leaseMs / 2);
  expect(await draining).toMatchObject({ claimed: 2, released: 2, lost: 0 });
  expect(ran).toBe(0);
});

/** A store that notes how many starts each statement puts on record, beyond those that have run by then. */
function countAhead(t: Setup): {
  readonly jobs: JobStore;
  readonly ahead: number[];
  readonly onRun: () => void;
} {
  const ahead: number[] = [];
  let [marked, ran] = [0, 0];
  const start: JobStore["start"] = async (claims) => {
    marked += claims.length;
    ahead.push(marked - ran);
    return t.ledger.jobs.start(claims);
  };
  const onRun = (): void => {
    ran += 1;
  };
  return { jobs: storeWith(t, start), ahead, onRun };
}

test("starts of quick jobs are put on record ahead of their slots, many in a statement", async () => {
  await using t = await setup();
  await enqueueCounts(t, 2_000);
  const { jobs, ahead, onRun } = countAhead(t);
  const handler = handleJob(countJob, async () => onRun());
  // By a clock that stands still no pause of a slow machine makes them slow.
  const options = { handlers: [handler], owner: "r", leaseMs, clock: createManualClock() };
  const runner = createRunner({ ledger: { jobs }, ...options });
  expect(await runner.drain(budget)).toMatchObject({ succeeded: 2_000, lost: 0, released: 0 });
  expect(ahead.length).toBeLessThan(2_000 / 10 / 2);
});

test("a job that a lost attempt or a crash would end is put on record when it has a slot", async () => {
  await using t = await setup();
  const last = defineJob({
    type: "count",
    version: 1,
    payload: countJob.payload,
    retry: fixed({ maxAttempts: 1, delayMs: 0 }),
  });
  const fragile = defineJob({
    type: "fragile",
    version: 1,
    payload: countJob.payload,
    maxCrashes: 1,
  });
  for (const definition of [last, fragile]) {
    const inputs = Array.from({ length: 300 }, (_, n) => ({ tenantId: "t", payload: { n } }));
    await enqueueMany(t.database.pool, definition, inputs);
    const { jobs, ahead, onRun } = countAhead(t);
    const handler = handleJob(definition, async () => onRun());
    const clock = createManualClock();
    const options = { handlers: [handler], owner: "r", leaseMs, concurrency: 4, clock };
    const runner = createRunner({ ledger: { jobs }, ...options });
    expect(await runner.drain(budget)).toMatchObject({ succeeded: 300 });
    expect(Math.max(...ahead)).toBeLessThanOrEqual(4);
  }
});

test("what is not to be started at all is not put on record as started", async () => {
  await using t = await setup();
  await enqueueCounts(t, 2);
  await t.database.pool.query(
    `UPDATE evenkeel.background_job SET attempt = CASE WHEN payload ->> 'n' = '0' THEN 3 ELSE 0 END,
      crashes = CASE WHEN payload ->> 'n' = '1' THEN 3 ELSE 0 END`,
  );
  let starts = 0;
  const start: JobStore["start"] = async (claims) => {
    starts += claims.length;
    return t.ledger.jobs.start(claims);
  };
  const handler = handleJob(countJob, async () => {});
  const options = { handlers: [handler], owner: "r", leaseMs };
  const runner = createRunner({ ledger: { jobs: storeWith(t, start) }, ...options });
  expect(await runner.drain(budget)).toMatchObject({ dead: 2 });
  expect(starts).toBe(0);
});

const onceOnly = defineJob({
  type: "once",
  version: 1,
  payload: countJob.payload,
  retry: fixed({ maxAttempts: 1, delayMs: 0 }),
});

test("a job of one attempt whose handler stops as its drain is aborted is dead, and starts no second time", async () => {
  await using t = await setup();
  await enqueueMany(t.database.pool, onceOnly, [{ tenantId: "t", payload: { n: 0 } }]);
  const end = new AbortController();
  let ran = 0;
  const handler = handleJob(onceOnly, async ({ signal }) => {
    ran += 1;
    end.abort();
    signal.throwIfAborted();
  });
  const options = { handlers: [handler], owner: "r", leaseMs };
  const runner = createRunner({ ledger: t.ledger, ...options });
  expect(await runner.drain({ ...budget, signal: end.signal })).toMatchObject({
    claimed: 1,
    released: 0,
    dead: 1,
  });
  expect(await t.deadLetters()).toEqual([
    { reason: "exhausted", error: expect.stringMatching(/aborted.*requeue/u) },
  ]);
  expect(await t.history()).toMatchObject([
    { outcome: "DEAD", attempt: 1, errors: [{ code: "drain_aborted", attempt: 1 }] },
  ]);
  expect(await runner.drain(budget)).toMatchObject({ claimed: 0 });
  expect(ran).toBe(1);
});

test("a job of one attempt starts again where its handler says so, be it because of an abort", async () => {
  await using t = await setup();
  await enqueueMany(t.database.pool, onceOnly, [{ tenantId: "t", payload: { n: 0 } }]);
  const end = new AbortController();
  const attempts: number[] = [];
  const handler = handleJob(onceOnly, async ({ attempt, signal }) => {
    attempts.push(attempt);
    if (attempts.length === 1) throw new SnoozeError("too early", { delayMs: 3_600_000 });
    if (attempts.length > 2) return;
    end.abort();
    throw new SnoozeError("nothing was done", { delayMs: 3_600_000, cause: signal.reason });
  });
  const options = { handlers: [handler], owner: "r", leaseMs };
  const runner = createRunner({ ledger: t.ledger, ...options });
  expect(await runner.drain(budget)).toMatchObject({ snoozed: 1 });
  await t.makeDue();
  expect(await runner.drain({ ...budget, signal: end.signal })).toMatchObject({ snoozed: 1 });
  await t.makeDue();
  expect(await runner.drain(budget)).toMatchObject({ succeeded: 1 });
  expect(attempts).toEqual([1, 1, 1]);
});
