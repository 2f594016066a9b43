import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { handleJob, type JobContext } from "../definition/job-handler.ts";
import { countJob } from "../testing/count-job.ts";
import { enqueueCounts, setup, type Setup } from "../testing/setup.ts";
import type { DrainReport } from "./drain-report.ts";
import { createRunner } from "./runner.ts";

let t: Setup;
beforeEach(async () => {
  t = await setup();
  await t.database.pool.query(`CREATE TABLE "effect" ("job" text PRIMARY KEY)`);
});
afterEach(() => t.close());

interface PoolClient {
  query(text: string, values?: unknown[]): Promise<{ rows: unknown[] }>;
}
type Context = JobContext<{ n: number }>;

async function inTransaction(work: (tx: PoolClient) => Promise<unknown>): Promise<void> {
  const tx = await t.database.pool.connect();
  try {
    await tx.query("BEGIN");
    await work(tx);
    await tx.query("COMMIT");
  } catch (error) {
    await tx.query("ROLLBACK");
    throw error;
  } finally {
    tx.release();
  }
}

function drain(
  run: (job: Context) => Promise<unknown>,
  maxJobs: number = 50,
): Promise<DrainReport> {
  const handlers = [handleJob(countJob, run)];
  return createRunner({ ledger: t.ledger, handlers, owner: "o" }).drain({
    budgetMs: 60_000,
    maxJobs,
  });
}

async function effects(): Promise<number> {
  const { rows } = await t.database.pool.query(`SELECT FROM "effect"`);
  return rows.length;
}

const write = (tx: PoolClient, { id }: Context): Promise<unknown> =>
  tx.query(`INSERT INTO "effect" VALUES ($1)`, [id]);

test("an effect and its job's settlement commit together", async () => {
  await enqueueCounts(t, 50);
  const report = await drain((job) =>
    inTransaction(async (tx) => {
      await write(tx, job);
      await job.completeIn(tx, { n: job.payload.n });
    }),
  );
  expect(report).toMatchObject({ claimed: 50, succeeded: 50, lost: 0, retried: 0 });
  expect(await effects()).toBe(50);
  const history = await t.history();
  expect(history.map(({ outcome, result }) => ({ outcome, result }))).toEqual(
    Array.from({ length: 50 }, (_, n) => ({ outcome: "SUCCEEDED", result: { n } })),
  );
});

test("a rollback takes the settlement along, and the job is tried again, whatever the handler returns", async () => {
  await enqueueCounts(t, 2);
  const report = await drain(async (job) => {
    const attempt = inTransaction(async (tx) => {
      await write(tx, job);
      await job.completeIn(tx);
      if (job.attempt === 1) throw new Error("The transaction was rolled back.");
    });
    // One hides it.
    await (job.payload.n === 0 ? attempt : attempt.catch(() => {}));
  });
  expect(report).toMatchObject({ succeeded: 0, retried: 2 });
  expect(await effects()).toBe(0);
  await t.makeDue();
  const second = await drain((job) => inTransaction((tx) => job.completeIn(tx)));
  expect(second).toMatchObject({ succeeded: 2 });
  const codes = (await t.history()).map(({ errors }) => errors[0]?.code);
  expect(codes).toEqual(["Error", "completion_rolled_back"]);
});

test("a worker that was taken for dead cannot commit: its effect is rolled back with the refusal", async () => {
  await enqueueCounts(t, 1);
  const isDead = async (job: Context): Promise<void> =>
    inTransaction(async (tx) => {
      await write(tx, job);
      await t.expireLeases();
      const other = await drain((again) =>
        inTransaction(async (otherTx) => {
          await otherTx.query(`INSERT INTO "effect" VALUES ('by the other')`);
          await again.completeIn(otherTx);
        }),
      );
      expect(other).toMatchObject({ succeeded: 1 });
      await job.completeIn(tx);
    });
  // It claims no more than this one, which it would else claim from itself.
  expect(await drain(isDead, 1)).toMatchObject({ succeeded: 0, lost: 1 });
  const { rows } = await t.database.pool.query(`SELECT "job" FROM "effect"`);
  expect(rows).toEqual([{ job: "by the other" }]);
  expect(await t.history()).toMatchObject([{ outcome: "SUCCEEDED", attempt: 2 }]);
});

test("a completed job that fails afterwards has succeeded", async () => {
  await enqueueCounts(t, 1);
  const report = await drain(async (job) => {
    await inTransaction((tx) => job.completeIn(tx));
    throw new Error("Too late to matter.");
  });
  expect(report).toMatchObject({ succeeded: 1, retried: 0, lost: 0 });
  expect(await t.history()).toMatchObject([{ outcome: "SUCCEEDED" }]);
});

test("a transaction that hangs after its settlement holds up no other job's", async () => {
  await enqueueCounts(t, 2);
  const timedOut = Promise.withResolvers<void>();
  const release = Promise.withResolvers<undefined>();
  const run = async (job: Context): Promise<void> => {
    if (job.payload.n === 1) return timedOut.promise;
    await inTransaction(async (tx) => {
      await job.completeIn(tx);
      job.signal.addEventListener("abort", () => timedOut.resolve());
      await release.promise;
    });
  };
  const handlers = [handleJob({ ...countJob, timeoutMs: 200 }, run)];
  const runner = createRunner({ ledger: t.ledger, handlers, owner: "o" });
  const draining = runner.drain({ budgetMs: 60_000 });
  await vi.waitFor(async () => expect(await t.history()).toHaveLength(1), { timeout: 60_000 });
  release.resolve(undefined);
  expect(await draining).toMatchObject({ claimed: 2, succeeded: 2, retried: 0, lost: 0 });
});

test("a transaction in which completeIn fails leaves a failed attempt, even if the handler hides it", async () => {
  await enqueueCounts(t, 1);
  const report = await drain((job) =>
    inTransaction(async (tx) => {
      await write(tx, job);
      await tx.query("SELECT 1 / 0").catch(() => {});
      await job.completeIn(tx);
    }).catch(() => "hidden"),
  );
  expect(report).toMatchObject({ claimed: 1, succeeded: 0, retried: 1 });
  expect(await effects()).toBe(0);
});
