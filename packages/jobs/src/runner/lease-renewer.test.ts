import { silentLogger } from "@evenkeel/core";
import { afterEach, beforeEach, expect, test } from "vitest";

import { handleJob, type JobHandler } from "../definition/job-handler.ts";
import { enqueue } from "../enqueue.ts";
import { countJob } from "../testing/count-job.ts";
import { createManualClock, type ManualClock } from "../testing/manual-clock.ts";
import { enqueueCounts, setup, type Setup } from "../testing/setup.ts";
import { LeaseRenewer } from "./lease-renewer.ts";
import { createRunner, type Runner } from "./runner.ts";

let t: Setup;
let clock: ManualClock;
beforeEach(async () => {
  t = await setup();
  clock = createManualClock();
});
afterEach(() => t.close());

const budget = { budgetMs: 3_600_000 };

/** Longer than any pause of a slow machine: only the tests end a lease. */
const leaseMs = 600_000;

/** A handler that says when it began, and continues until it is released or told to stop. */
function openGate(timeoutMs = 3_600_000): {
  readonly handler: JobHandler;
  readonly begun: Promise<AbortSignal>;
  release(): void;
} {
  const begun = Promise.withResolvers<AbortSignal>();
  const release = Promise.withResolvers<undefined>();
  return {
    begun: begun.promise,
    release: () => release.resolve(undefined),
    handler: handleJob({ ...countJob, timeoutMs }, async ({ signal }) => {
      begun.resolve(signal);
      await release.promise;
    }),
  };
}

/** A runner on the manual clock, and what its next heartbeat returns. */
function createBeatingRunner(handler: JobHandler): {
  readonly runner: Runner;
  readonly beaten: Promise<Set<string>>;
} {
  const beat = Promise.withResolvers<Set<string>>();
  const { jobs } = t.ledger;
  const heartbeat: typeof jobs.heartbeat = async (...request) => {
    const held = await jobs.heartbeat(...request);
    beat.resolve(held);
    return held;
  };
  const ledger = { jobs: { ...jobs, heartbeat } };
  const options = { ledger, handlers: [handler], owner: "r", concurrency: 1, leaseMs, clock };
  return { runner: createRunner(options), beaten: beat.promise };
}

async function readLeaseSeconds(): Promise<number> {
  const { rows } = await t.database.pool.query<{ seconds: number }>(
    `SELECT extract(epoch FROM "lease_expires_at" - now())::float8 AS "seconds"
     FROM "evenkeel"."background_job"`,
  );
  return rows[0]?.seconds ?? Number.NaN;
}

test("a job that takes longer than a lease is kept by heartbeats, every third of a lease", async () => {
  await enqueueCounts(t, 1);
  const gate = openGate();
  const { runner, beaten } = createBeatingRunner(gate.handler);
  const drain = runner.drain(budget);
  await gate.begun;
  await t.expireLeases();
  expect(await readLeaseSeconds()).toBeLessThan(0);
  clock.advance(leaseMs / 3);
  expect((await beaten).size).toBe(1);
  expect(await readLeaseSeconds()).toBeGreaterThan(0);
  gate.release();
  expect(await drain).toMatchObject({ claimed: 1, succeeded: 1, lost: 0 });
});

test("a job that another took over is told to stop, and its result is dropped", async () => {
  await enqueueCounts(t, 1);
  const gate = openGate();
  const { runner } = createBeatingRunner(gate.handler);
  const drain = runner.drain({ ...budget, maxJobs: 1 });
  const signal = await gate.begun;
  await t.expireLeases();
  const request = { types: [countJob.type], limit: 1, leaseMs, owner: "other" };
  const { jobs } = await t.ledger.jobs.claim({ lane: "stable", ...request });
  expect(jobs).toHaveLength(1);
  clock.advance(leaseMs / 3);
  expect(await drain).toMatchObject({ claimed: 1, succeeded: 0, lost: 1 });
  expect(signal.reason).toMatchObject({ code: "lease_lost" });
  gate.release();
  expect(await t.history()).toEqual([]);
});

test("a lease that runs out while the database does not answer tells the job to stop", async () => {
  await enqueueCounts(t, 1);
  const gate = openGate();
  const runner = createRunner({
    ledger: t.ledger,
    handlers: [gate.handler],
    owner: "r",
    leaseMs,
    clock,
  });
  const drain = runner.drain({ ...budget, maxJobs: 1 });
  const signal = await gate.begun;
  // Heartbeats wait for this lock.
  const blocker = await t.database.connect(1).connect();
  await blocker.query(`BEGIN; SELECT FROM "evenkeel"."background_job" FOR UPDATE`);
  let passedMs = 0;
  for (; !signal.aborted; passedMs += 10_000) {
    clock.advance(10_000);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(passedMs).toBeLessThanOrEqual(leaseMs + 10_000);
  expect(signal.reason).toMatchObject({ code: "lease_lost" });
  expect(await drain).toMatchObject({ claimed: 1, lost: 1 });
  await blocker.query("ROLLBACK");
  blocker.release();
  gate.release();
});

test("a job that takes too long is told to stop, tried again, and dead after its last attempt", async () => {
  await enqueueCounts(t, 1);
  for (const expected of [{ retried: 1 }, { retried: 1 }, { dead: 1 }]) {
    const gate = openGate(5_000);
    const { runner } = createBeatingRunner(gate.handler);
    const drain = runner.drain(budget);
    const signal = await gate.begun;
    clock.advance(4_999);
    expect(signal.aborted).toBe(false);
    clock.advance(1);
    expect(signal.reason).toMatchObject({ code: "timed_out" });
    expect(await drain).toMatchObject({ claimed: 1, succeeded: 0, ...expected });
    // What it does afterwards changes nothing.
    gate.release();
    await t.makeDue();
  }
  expect(await t.deadLetters()).toMatchObject([{ reason: "timeout" }]);
  expect(await t.history()).toMatchObject([{ outcome: "DEAD", attempt: 3 }]);
});

test("when the budget ends nothing starts any more, what runs may end, and the rest is released", async () => {
  await enqueueCounts(t, 5);
  const gate = openGate();
  const { runner } = createBeatingRunner(gate.handler);
  const drain = runner.drain({ budgetMs: 1_000 });
  const signal = await gate.begun;
  clock.advance(1_000);
  expect(signal.aborted).toBe(false);
  gate.release();
  const report = await drain;
  expect(report).toMatchObject({ succeeded: 1, remaining: true, stopped: false });
  expect(report.released).toBe(report.claimed - 1);
  expect(await t.ledger.jobs.counts()).toMatchObject({ due: 4, running: 0, retried: 0 });
});

test("a job that does not stop in time after an abort is a failed attempt", async () => {
  await enqueueCounts(t, 1);
  const gate = openGate();
  const { runner } = createBeatingRunner(gate.handler);
  const abort = new AbortController();
  const drain = runner.drain({ ...budget, signal: abort.signal, abortGraceMs: 2_000 });
  const signal = await gate.begun;
  abort.abort();
  expect(signal.reason).toMatchObject({ code: "drain_aborted" });
  clock.advance(2_000);
  expect(await drain).toMatchObject({ claimed: 1, retried: 1, released: 0, stopped: true });
  gate.release();
  const { rows } = await t.database.pool.query(
    `SELECT "state", "errors" FROM "evenkeel"."background_job"`,
  );
  expect(rows).toMatchObject([{ state: "SCHEDULED", errors: [{ code: "drain_aborted" }] }]);
});

test("a drain without a budget claims nothing and says whether work is due", async () => {
  await enqueueCounts(t, 1);
  const { runner } = createBeatingRunner(openGate().handler);
  expect(await runner.drain({ budgetMs: 0 })).toMatchObject({ claimed: 0, remaining: true });
  expect(await runner.drain({ ...budget, maxJobs: 0 })).toMatchObject({ remaining: true });
  expect(await runner.drain({ ...budget, signal: AbortSignal.abort() })).toMatchObject({
    claimed: 0,
    stopped: true,
  });
});

test("jobs of a claim that the ledger answered too late are released", async () => {
  await enqueueCounts(t, 3);
  const asked = Promise.withResolvers<undefined>();
  const response = Promise.withResolvers<undefined>();
  const settled = Promise.withResolvers<Set<string>>();
  const { jobs } = t.ledger;
  const late: typeof jobs = {
    ...jobs,
    claim: async (request) => {
      const result = await jobs.claim(request);
      asked.resolve(undefined);
      await response.promise;
      return result;
    },
    settle: async (settlements) => {
      const accepted = await jobs.settle(settlements);
      settled.resolve(accepted);
      return accepted;
    },
  };
  const { handler } = openGate();
  const options = { handlers: [handler], owner: "r", leaseMs, clock };
  const drain = createRunner({ ledger: { jobs: late }, ...options }).drain(budget);
  await asked.promise;
  clock.advance(leaseMs / 2);
  await expect(drain).rejects.toMatchObject({ code: "lease_lost" });
  response.resolve(undefined);
  expect((await settled.promise).size).toBe(3);
  expect(await jobs.counts()).toMatchObject({ due: 3, running: 0 });
});

test("while the database takes no settlements, no more jobs are run that would have to be run again", async () => {
  await enqueueCounts(t, 60);
  const { jobs } = t.ledger;
  let ran = 0;
  const ranAtSettlement: number[] = [];
  const settle: typeof jobs.settle = async (...request) => {
    // Time enough for a drain to claim and run all that it would.
    for (let turn = 0; ranAtSettlement.length === 0 && turn < 100; turn += 1) {
      await jobs.hasPoller("stable");
    }
    ranAtSettlement.push(ran);
    return jobs.settle(...request);
  };
  const handler = handleJob(countJob, async () => {
    ran += 1;
    clock.advance(leaseMs / 50);
  });
  const options = { handlers: [handler], owner: "r", concurrency: 1, leaseMs, clock };
  const runner = createRunner({ ledger: { jobs: { ...jobs, settle } }, ...options });
  const end = new AbortController();
  const draining = runner.drain({ budgetMs: 24 * 3_600_000 }).finally(() => end.abort());
  // What waits for more to be settled with it waits by this clock.
  while (!end.signal.aborted) {
    await jobs.hasPoller("stable");
    clock.advance(20);
  }
  expect(await draining).toMatchObject({ claimed: 60, succeeded: 60, lost: 0 });
  expect(ranAtSettlement[0]).toBeLessThan(12);
});

test("a lease that ran out while the event loop was blocked is kept, if no other has claimed the job", async () => {
  let blockedMs = 0;
  const response = Promise.withResolvers<Set<string>>();
  const renewer = new LeaseRenewer({
    jobs: {
      heartbeat: () => response.promise,
      standingOf: (claims) => Promise.resolve(new Map(claims.map(({ id }) => [id, "lost"]))),
    },
    leaseMs,
    clock: { ...clock, now: () => clock.now() + blockedMs },
    logger: silentLogger,
  });
  const lost: string[] = [];
  renewer.track("1", "1", 0, () => void lost.push("1"));
  renewer.track("2", "1", 0, () => void lost.push("2"));
  blockedMs = leaseMs;
  clock.advance(leaseMs / 10);
  // As long as a database takes.
  clock.advance(100);
  response.resolve(new Set(["1"]));
  for (let tick = 0; tick < 20; tick += 1) await Promise.resolve();
  expect(lost).toEqual(["2"]);
});

test("what still runs at the host's limit has timed out, and says so", async () => {
  await enqueueCounts(t, 1);
  const gate = openGate();
  const { runner } = createBeatingRunner(gate.handler);
  const drain = runner.drain({ ...budget, deadlineMs: 10_000 });
  const signal = await gate.begun;
  clock.advance(9_999);
  expect(signal.aborted).toBe(false);
  clock.advance(1);
  expect(signal.reason).toMatchObject({ code: "timed_out" });
  expect(await drain).toMatchObject({ claimed: 1, retried: 1, remaining: false });
  gate.release();
  const { rows } = await t.database.pool.query<{ message: string }>(
    `SELECT "errors" -> 0 ->> 'message' AS "message" FROM "evenkeel"."background_job"`,
  );
  expect(rows[0]?.message).toMatch(/within 10000 ms, .* its host's limit left of its 3600000 ms/u);
});

test("a job whose time-out does not fit into what the limit has left waits for a drain's first claim", async () => {
  const longJob = { ...countJob, type: "long", timeoutMs: 9_000 };
  const quickJob = { ...countJob, timeoutMs: 1_000 };
  const ran: string[] = [];
  const handlers = [quickJob, longJob].map((definition) =>
    handleJob(definition, async () => {
      ran.push(definition.type);
      clock.advance(500);
    }),
  );
  const options = { handlers, owner: "r", concurrency: 1, batchSize: 1, leaseMs, clock };
  const runner = createRunner({ ledger: t.ledger, ...options });
  for (const definition of [quickJob, longJob, quickJob]) {
    await enqueue(t.database.pool, definition, { tenantId: "t", payload: { n: 1 } });
    clock.advance(10);
  }
  const limited = { ...budget, deadlineMs: 9_400 };
  expect(await runner.drain(limited)).toMatchObject({ succeeded: 2, remaining: true });
  expect(ran).toEqual(["count", "count"]);
  expect(await runner.drain(limited)).toMatchObject({ succeeded: 1, remaining: false });
  expect(ran.at(-1)).toBe("long");
});

test("a lease that ended while the machine was suspended is asked for soon after, and lost if it is another's", async () => {
  const lost = Promise.withResolvers<string>();
  const asked: number[] = [];
  const leases = new LeaseRenewer({
    jobs: {
      heartbeat: async (claims) => {
        asked.push(claims.length);
        return new Set();
      },
      standingOf: (claims) => Promise.resolve(new Map(claims.map(({ id }) => [id, "lost"]))),
    },
    leaseMs,
    clock,
    logger: silentLogger,
  });
  leases.track("1", "1", clock.now(), () => lost.resolve("lost"));
  clock.suspend(2 * leaseMs);
  // A third of a lease is awaited by a timer that stood still.
  clock.advance(leaseMs / 10);
  expect(asked).toEqual([1]);
  expect(await lost.promise).toBe("lost");
  leases.stop();
});

test("a job whose handler rolled back the transaction that completes it, and goes on, is kept by heartbeats", async () => {
  await enqueueCounts(t, 1);
  const begun = Promise.withResolvers<undefined>();
  const release = Promise.withResolvers<undefined>();
  const handler = handleJob({ ...countJob, timeoutMs: 3_600_000 }, async ({ completeIn }) => {
    const tx = await t.database.pool.connect();
    await tx.query("BEGIN");
    await completeIn(tx);
    await tx.query("ROLLBACK");
    tx.release();
    begun.resolve(undefined);
    await release.promise;
    throw new Error("It could not be completed.");
  });
  const { runner, beaten } = createBeatingRunner(handler);
  const drain = runner.drain(budget);
  await begun.promise;
  await t.expireLeases();
  clock.advance(leaseMs / 3);
  expect((await beaten).size).toBe(1);
  expect(await readLeaseSeconds()).toBeGreaterThan(0);
  release.resolve(undefined);
  expect(await drain).toMatchObject({ claimed: 1, retried: 1, lost: 0 });
});
