import { bucketOf, type Logger } from "@evenkeel/core";
import { createLedger } from "@evenkeel/ledger";
import { expect, test } from "vitest";

import { RetryAfterError, SnoozeError, TerminalError } from "../definition/attempt-error.ts";
import { handleJob, type JobHandler } from "../definition/job-handler.ts";
import { enqueue } from "../enqueue.ts";
import { countJob } from "../testing/count-job.ts";
import { enqueueCounts, setup, type Setup } from "../testing/setup.ts";
import { createRunner, type Runner, type RunnerOptions } from "./runner.ts";

function runnerOf(t: Setup, handler: JobHandler, options: Partial<RunnerOptions> = {}): Runner {
  return createRunner({ ledger: t.ledger, handlers: [handler], owner: "r", ...options });
}

const budget = { budgetMs: 60_000 };

test("every due job is run once and settled once, by several runners at once", async () => {
  await using t = await setup();
  await enqueueCounts(t, 1_000);
  const seen: number[] = [];
  const handler = handleJob(countJob, async ({ payload }) => {
    seen.push(payload.n);
    return payload.n;
  });
  const runners = [1, 2, 3].map((n) =>
    runnerOf(t, handler, {
      ledger: createLedger({ pool: t.database.connect() }),
      owner: `r-${n}`,
    }),
  );
  const reports = await Promise.all(runners.map((runner) => runner.drain(budget)));
  expect(seen.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 1_000 }, (_, n) => n));
  expect(reports.reduce((sum, { succeeded }) => sum + succeeded, 0)).toBe(1_000);
  expect(reports.every(({ remaining, lost }) => !remaining && lost === 0)).toBe(true);
  const history = await t.history();
  expect(history).toHaveLength(1_000);
  expect(history[7]).toMatchObject({ outcome: "SUCCEEDED", attempt: 1, result: 7 });
});

test("a drain whose last claim met limits that another was deciding about asks whether work is left", async () => {
  await using t = await setup();
  await enqueueCounts(t, 1);
  const claim = async (): Promise<{ jobs: []; throttled: boolean }> => ({
    jobs: [],
    throttled: true,
  });
  const ledger = { jobs: { ...t.ledger.jobs, claim } };
  const runner = runnerOf(
    t,
    handleJob(countJob, async () => {}),
    { ledger },
  );
  expect(await runner.drain(budget)).toMatchObject({ claimed: 0, remaining: true });
});

test("a failure is retried until its attempts are used up, and is then a dead letter", async () => {
  await using t = await setup();
  await enqueueCounts(t, 1);
  const runner = runnerOf(
    t,
    handleJob(countJob, async ({ attempt }) => {
      throw new Error(`attempt ${attempt} failed`);
    }),
  );
  expect(await runner.drain(budget)).toMatchObject({ claimed: 1, retried: 1, dead: 0 });
  expect(await runner.drain(budget)).toMatchObject({ claimed: 0, remaining: false });
  await t.makeDue();
  expect(await runner.drain(budget)).toMatchObject({ retried: 1 });
  await t.makeDue();
  expect(await runner.drain(budget)).toMatchObject({ dead: 1 });
  expect(await t.deadLetters()).toMatchObject([
    { reason: "exhausted", error: expect.stringContaining("attempt 3 failed") },
  ]);
  expect(await t.history()).toMatchObject([
    { outcome: "DEAD", attempt: 3, errors: [{ attempt: 1 }, { attempt: 2 }, { attempt: 3 }] },
  ]);
});

test("a terminal error is final, a snooze costs no attempt, a retry-after sets the delay", async () => {
  await using t = await setup();
  await enqueueCounts(t, 3);
  const snoozed: number[] = [];
  const runner = runnerOf(
    t,
    handleJob(countJob, async ({ payload, attempt }) => {
      if (payload.n === 0) throw new TerminalError("closed");
      if (payload.n === 1) throw new RetryAfterError("busy", { delayMs: 3_600_000 });
      snoozed.push(attempt);
      if (snoozed.length < 4) throw new SnoozeError("early", { delayMs: 3_600_000 });
    }),
  );
  expect(await runner.drain(budget)).toMatchObject({ dead: 1, retried: 1, snoozed: 1 });
  expect(await t.deadLetters()).toMatchObject([{ reason: "terminal" }]);
  expect(await t.ledger.jobs.counts()).toMatchObject({ due: 0, scheduled: 2 });
  for (let round = 0; round < 3; round += 1) {
    await t.database.pool.query(
      `UPDATE "evenkeel"."background_job" SET "run_at" = date_trunc('milliseconds', now())
       WHERE "payload"->>'n' = '2'`,
    );
    await runner.drain(budget);
  }
  expect(snoozed).toEqual([1, 1, 1, 1]);
  expect(await t.ledger.jobs.counts()).toMatchObject({ succeeded: 1, scheduled: 1 });
});

test("a payload that the schema refuses is dead at once", async () => {
  await using t = await setup();
  await enqueueCounts(t, 1);
  await t.database.pool.query(`UPDATE "evenkeel"."background_job" SET "payload" = '{"n": "x"}'`);
  const runner = runnerOf(
    t,
    handleJob(countJob, async () => {}),
  );
  expect(await runner.drain(budget)).toMatchObject({ dead: 1 });
  expect(await t.deadLetters()).toMatchObject([{ reason: "schema" }]);
});

test("unknown types stay pending, untouched, and are reported", async () => {
  await using t = await setup();
  const stranger = { ...countJob, type: "stranger" };
  await enqueue(t.database.pool, stranger, { tenantId: "t", payload: { n: 1 } });
  const report = await runnerOf(
    t,
    handleJob(countJob, async () => {}),
  ).drain(budget);
  expect(report).toMatchObject({
    claimed: 0,
    remaining: false,
    unknownTypes: [{ type: "stranger", count: 1 }],
  });
  expect(await t.ledger.jobs.counts()).toMatchObject({ due: 1 });
});

test("a job of a newer version is left as it is to a host that knows it", async () => {
  await using t = await setup();
  await enqueue(t.database.pool, { ...countJob, version: 2 }, { tenantId: "t", payload: { n: 1 } });
  const older = runnerOf(
    t,
    handleJob(countJob, async () => {}),
  );
  expect(await older.drain(budget)).toMatchObject({ claimed: 0, remaining: false });
  const newer = runnerOf(
    t,
    handleJob({ ...countJob, version: 2 }, async () => {}),
  );
  expect(await newer.drain(budget)).toMatchObject({ succeeded: 1 });
  expect(await t.history()).toMatchObject([{ attempt: 1 }]);
});

test("never more jobs at once than the concurrency, and of one tenant fewer where others may come", async () => {
  await using t = await setup();
  for (const [singleTenant, expected] of [
    [true, 7],
    [false, 5],
  ] as const) {
    await enqueueCounts(t, 60);
    let running = 0;
    let most = 0;
    const runner = runnerOf(
      t,
      handleJob(countJob, async () => {
        running += 1;
        most = Math.max(most, running);
        await new Promise((resolve) => setImmediate(resolve));
        running -= 1;
      }),
      { concurrency: 7, singleTenant },
    );
    expect(await runner.drain(budget)).toMatchObject({ succeeded: 60 });
    expect(most).toBe(expected);
  }
});

/** A handler that says when it was entered and waits until it is released. */
function heldHandler(): {
  readonly handler: JobHandler;
  readonly entered: Promise<undefined>;
  release(): void;
  readonly aborted: () => boolean;
} {
  const entered = Promise.withResolvers<undefined>();
  const release = Promise.withResolvers<undefined>();
  let signal: AbortSignal | undefined;
  return {
    entered: entered.promise,
    release: () => release.resolve(undefined),
    aborted: () => signal?.aborted === true,
    handler: handleJob(countJob, async (context) => {
      ({ signal } = context);
      entered.resolve(undefined);
      await release.promise;
      return "late";
    }),
  };
}

test("an expired lease is claimed by another, and the first owner's settlement is refused", async () => {
  await using t = await setup();
  await enqueueCounts(t, 1);
  const first = heldHandler();
  const warnings: string[] = [];
  const warn = (event: string): void => void warnings.push(event);
  const logger: Logger = { debug() {}, info() {}, error() {}, warn };
  const slow = runnerOf(t, first.handler, { logger }).drain({ ...budget, maxJobs: 1 });
  await first.entered;
  await t.expireLeases();
  const second = runnerOf(
    t,
    handleJob(countJob, async () => "in time"),
  );
  expect(await second.drain(budget)).toMatchObject({ claimed: 1, succeeded: 1 });
  first.release();
  expect(await slow).toMatchObject({ succeeded: 0, lost: 1 });
  expect(warnings).toContain("job.lost");
  expect(await t.history()).toMatchObject([
    { outcome: "SUCCEEDED", attempt: 2, result: "in time", errors: [{ code: "lease_expired" }] },
  ]);
});

test("a drain that claims its own expired job again runs it once more, and drops the older attempt", async () => {
  await using t = await setup();
  await enqueueCounts(t, 1);
  const entered = Promise.withResolvers<undefined>();
  let olderSignal: AbortSignal | undefined;
  const drain = runnerOf(
    t,
    handleJob(countJob, async ({ attempt, signal }) => {
      if (attempt === 2) return "second";
      olderSignal = signal;
      entered.resolve(undefined);
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      return "first";
    }),
  ).drain(budget);
  await entered.promise;
  await t.expireLeases();
  expect(await drain).toMatchObject({ claimed: 2, succeeded: 1, lost: 1 });
  expect(olderSignal?.reason).toMatchObject({ code: "lease_lost" });
  expect(await t.history()).toMatchObject([{ outcome: "SUCCEEDED", attempt: 2, result: "second" }]);
});

test("a gentle stop lets what runs end; an abort releases what stops for it", async () => {
  await using t = await setup();
  await enqueueCounts(t, 5);
  const held = heldHandler();
  const stop = new AbortController();
  const drain = runnerOf(t, held.handler, { concurrency: 1 }).drain({
    ...budget,
    stopSignal: stop.signal,
  });
  await held.entered;
  stop.abort();
  expect(held.aborted()).toBe(false);
  held.release();
  expect(await drain).toMatchObject({ succeeded: 1, stopped: true, remaining: true });

  const abort = new AbortController();
  const entered = Promise.withResolvers<undefined>();
  const obedient = handleJob(countJob, async ({ signal }) => {
    entered.resolve(undefined);
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    signal.throwIfAborted();
  });
  const aborted = runnerOf(t, obedient).drain({ ...budget, signal: abort.signal });
  await entered.promise;
  abort.abort();
  const report = await aborted;
  expect(report).toMatchObject({ succeeded: 0, retried: 0, lost: 0, stopped: true });
  // A claim under way may bring a job once more that was just released, and it is released again.
  expect(report.released).toBe(report.claimed);
  expect(await t.ledger.jobs.counts()).toMatchObject({ due: 4, running: 0, succeeded: 1 });
});

test("a drain takes no more than its most jobs, and says that work is left", async () => {
  await using t = await setup();
  await enqueueCounts(t, 30);
  const runner = runnerOf(
    t,
    handleJob(countJob, async () => {}),
    { concurrency: 4 },
  );
  expect(await runner.drain({ ...budget, maxJobs: 7 })).toMatchObject({
    claimed: 7,
    succeeded: 7,
    remaining: true,
  });
  expect(await t.ledger.jobs.counts()).toMatchObject({ due: 23, running: 0, succeeded: 7 });
});

test("a job that a job enqueues is run by the same drain", async () => {
  await using t = await setup();
  await enqueueCounts(t, 1);
  const seen: number[] = [];
  const handler = handleJob(countJob, async ({ payload, tenantId }) => {
    seen.push(payload.n);
    if (payload.n === 3) return;
    await enqueue(t.database.pool, countJob, { tenantId, payload: { n: payload.n + 1 } });
  });
  expect(await runnerOf(t, handler).drain(budget)).toMatchObject({
    succeeded: 4,
    remaining: false,
  });
  expect(seen).toEqual([0, 1, 2, 3]);
});

test("a runner works for the tenants of its lane only", async () => {
  await using t = await setup();
  const bucket = bucketOf("bird");
  const input = { tenantId: "bird", payload: { n: 1 } };
  await enqueue(t.database.pool, countJob, input);
  const others = { from: bucket + 1, to: 10_000 };
  const own = { from: bucket, to: bucket + 1 };
  const handler = handleJob(countJob, async () => {});
  expect(await runnerOf(t, handler, { lane: "canary" }).drain(budget)).toMatchObject({
    claimed: 0,
  });
  expect(await runnerOf(t, handler, { buckets: others }).drain(budget)).toMatchObject({
    claimed: 0,
  });
  expect(await runnerOf(t, handler, { lane: "canary", buckets: own }).drain(budget)).toMatchObject({
    succeeded: 1,
  });
});

test("a handler is told whose job it runs, and its log lines say so", async () => {
  await using t = await setup();
  const lines: unknown[] = [];
  const log = (event: string, fields?: object): void => void lines.push({ event, ...fields });
  const logger: Logger = { debug: log, info: log, warn: log, error: log };
  const input = { tenantId: "acme", payload: { n: 1 }, correlationId: "c-1" };
  const { id } = await enqueue(t.database.pool, countJob, input);
  const handler = handleJob(countJob, async (context) => {
    const { tenantId, attempt, maxAttempts, correlationId } = context;
    context.logger.info("seen", { correlationId });
    return { id: context.id, tenantId, attempt, maxAttempts };
  });
  await runnerOf(t, handler, { logger }).drain(budget);
  const identity = { tenantId: "acme", attempt: 1 };
  expect(await t.history()).toMatchObject([{ result: { id, ...identity, maxAttempts: 3 } }]);
  expect(lines).toContainEqual({
    event: "seen",
    correlationId: "c-1",
    jobId: id,
    type: "count",
    ...identity,
  });
});

test("a ledger that does not answer the first claim rejects the drain", async () => {
  await using t = await setup();
  const ledger = createLedger({ databaseUrl: "postgresql://nobody:x@127.0.0.1:1/none" });
  const runner = runnerOf(
    t,
    handleJob(countJob, async () => {}),
    { ledger },
  );
  await expect(runner.drain(budget)).rejects.toMatchObject({ code: "ECONNREFUSED" });
  await ledger.close();
});

test("a thrown value that cannot be looked at is a failed attempt like any other", async () => {
  await using t = await setup();
  await enqueueCounts(t, 2);
  const revoked = Proxy.revocable({}, {});
  revoked.revoke();
  const shy = new Error("shy");
  Object.defineProperty(shy, "code", {
    get: () => {
      throw new Error("not yours");
    },
  });
  const handler = handleJob(countJob, async ({ payload }) => {
    throw payload.n === 0 ? revoked.proxy : shy;
  });
  expect(await runnerOf(t, handler).drain(budget)).toMatchObject({ claimed: 2, retried: 2 });
});
