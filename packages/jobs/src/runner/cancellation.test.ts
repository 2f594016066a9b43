import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

import { systemClock } from "@evenkeel/core";
import type { ClaimedJob } from "@evenkeel/ledger";
import { expect, test, vi } from "vitest";

import { handleJob, type JobContext } from "../definition/job-handler.ts";
import { cancelJob } from "../job-changes.ts";
import { countJob } from "../testing/count-job.ts";
import { enqueueCounts, setup, type Setup } from "../testing/setup.ts";
import { createRunner, type Runner, type RunnerOptions } from "./runner.ts";

type Context = JobContext<{ n: number }>;

const budget = { budgetMs: 600_000 };
const cancelled = expect.objectContaining({ code: "cancelled" });

/** A runner whose lease no pause of a slow machine outlasts, so that no heartbeat comes in time to tell. */
function createHost(
  t: Setup,
  run: (job: Context) => Promise<unknown>,
  options: Partial<RunnerOptions> & { readonly isolated?: boolean } = {},
): Runner {
  const { isolated = false, ...others } = options;
  const definition = { ...countJob, isolated, timeoutMs: 3_600_000 };
  return createRunner({
    ledger: t.ledger,
    handlers: [handleJob(definition, run)],
    owner: "host",
    leaseMs: 3_600_000,
    ...others,
  });
}

/** Opens a caller's transaction. */
async function begin(t: Setup) {
  const tx = await t.database.pool.connect();
  await tx.query("BEGIN");
  const end = async (how: "COMMIT" | "ROLLBACK"): Promise<void> => {
    await tx.query(how);
    tx.release();
  };
  return { tx, end };
}

async function ids(t: Setup): Promise<string[]> {
  const { rows } = await t.database.pool.query<{ id: string }>(
    `SELECT id::text FROM evenkeel.background_job ORDER BY id`,
  );
  return rows.map(({ id }) => id);
}

const cancel = (t: Setup, id: string) => cancelJob(t.database.pool, { tenantId: "t", id });

test("the signal of a cancelled job fires within a lease, and a handler that ignores it takes no slot", async () => {
  await using t = await setup();
  await enqueueCounts(t, 2);
  const begun = Promise.withResolvers<Context>();
  const fired = Promise.withResolvers<unknown>();
  const host = createHost(
    t,
    async (job) => {
      if (job.payload.n > 0) return;
      job.signal.addEventListener("abort", () => fired.resolve(job.signal.reason));
      begun.resolve(job);
      await new Promise(() => {});
    },
    { concurrency: 1, singleTenant: true },
  );
  const draining = host.drain(budget);
  const { id } = await begun.promise;
  expect(await cancel(t, id)).toEqual({ cancelled: true, id, status: "RUNNING" });
  expect(await fired.promise).toEqual(cancelled);
  expect(await draining).toMatchObject({ claimed: 2, succeeded: 1, cancelled: 1, lost: 0 });
  const history = await t.history();
  expect(history.map(({ outcome }) => outcome)).toEqual(["CANCELLED", "SUCCEEDED"]);
});

test("what a cancelled job returns is dropped, and no other host runs it again", async () => {
  await using t = await setup();
  await enqueueCounts(t, 1);
  const begun = Promise.withResolvers<Context>();
  const end = Promise.withResolvers<string>();
  const draining = createHost(t, (job) => {
    begun.resolve(job);
    return end.promise;
  }).drain(budget);
  const { id } = await begun.promise;
  await cancel(t, id);
  end.resolve("too late");
  expect(await draining).toMatchObject({ claimed: 1, succeeded: 0, cancelled: 1 });
  expect(await createHost(t, async () => {}).drain(budget)).toMatchObject({ claimed: 0 });
  expect(await t.history()).toMatchObject([{ outcome: "CANCELLED", result: null }]);
});

test("a job of a worker that was killed is cancelled at once, and never runs again", async () => {
  await using t = await setup();
  await enqueueCounts(t, 1);
  const script = fileURLToPath(new URL("../testing/worker-process.ts", import.meta.url));
  const options = ["--conditions=@evenkeel/source", script, t.database.databaseUrl, "hold"];
  const worker = spawn(process.execPath, options, { stdio: ["ignore", "pipe", "inherit"] });
  await once(worker.stdout, "data");
  const [id = ""] = await ids(t);
  worker.kill("SIGKILL");
  await once(worker, "exit");
  expect(await cancel(t, id)).toMatchObject({ cancelled: true, status: "RUNNING" });
  expect(await t.history()).toMatchObject([{ id, outcome: "CANCELLED", attempt: 1 }]);
  await t.expireLeases();
  expect(await createHost(t, async () => {}).drain(budget)).toMatchObject({ claimed: 0 });
});

test("jobs that a host only holds never start once they are cancelled", async () => {
  await using t = await setup();
  await enqueueCounts(t, 400);
  const begun = Promise.withResolvers<undefined>();
  const open = Promise.withResolvers<undefined>();
  const ran: number[] = [];
  let leadMs = 0;
  const clock = { ...systemClock, now: () => systemClock.now() + leadMs };
  const host = createHost(
    t,
    async ({ payload: { n } }) => {
      ran.push(n);
      if (n !== 200) return;
      begun.resolve(undefined);
      await open.promise;
    },
    { concurrency: 1, singleTenant: true, clock },
  );
  const draining = host.drain(budget);
  await begun.promise;
  const selection = { type: "count", statuses: ["RUNNING", "PENDING"] } as const;
  const operator = t.ledger.asOperator("ada");
  // It holds some whose starts are on record already.
  await vi.waitFor(async () => expect(await ids(t)).toHaveLength(200), { timeout: 60_000 });
  const change = await operator.jobs.cancelMany(selection, { limit: 10_000 });
  const before = ran.length;
  // Longer than a record is good for.
  leadMs = 1_000;
  open.resolve(undefined);
  const report = await draining;
  expect(ran.length).toBe(before);
  expect(report.cancelled + report.lost).toBeGreaterThan(0);
  expect(report.claimed).toBe(report.succeeded + report.cancelled + report.lost + report.released);
  expect(change.ids.length + report.succeeded).toBe(400);
});

test("a transaction that cancels one job and stays open costs its host no other job", async () => {
  await using t = await setup();
  await enqueueCounts(t, 6);
  const begun = Promise.withResolvers<Context>();
  const fired = Promise.withResolvers<unknown>();
  const open = Promise.withResolvers<undefined>();
  const others: number[] = [];
  const draining = createHost(
    t,
    async (job) => {
      const { payload, signal } = job;
      if (payload.n > 0) {
        await open.promise;
        others.push(payload.n);
        return;
      }
      signal.addEventListener("abort", () => fired.resolve(signal.reason));
      begun.resolve(job);
      await fired.promise;
    },
    { leaseMs: 1_500 },
  ).drain(budget);
  const { id } = await begun.promise;
  const { tx, end } = await begin(t);
  expect(await cancelJob(tx, { tenantId: "t", id })).toMatchObject({ cancelled: true });
  // Its own lease ends, as nobody can renew it, and those of the others do not.
  const leases = `SELECT lease_expires_at < now() - interval '1 second' AS "hasEnded"
    FROM evenkeel.background_job WHERE state = 'RUNNING' ORDER BY id`;
  await vi.waitFor(
    async () => {
      const { rows } = await t.database.pool.query<{ hasEnded: boolean }>(leases);
      expect(rows.map(({ hasEnded }) => hasEnded)).toEqual([
        true,
        ...rows.slice(1).map(() => false),
      ]);
      expect(rows).toHaveLength(6);
    },
    { timeout: 60_000 },
  );
  open.resolve(undefined);
  await vi.waitFor(() => expect(others).toHaveLength(5), { timeout: 60_000 });
  await vi.waitFor(async () => expect(await t.history()).toHaveLength(5), { timeout: 60_000 });
  await end("COMMIT");
  expect(await fired.promise).toMatchObject({
    code: expect.stringMatching(/lease_lost|cancelled/u),
  });
  const report = await draining;
  expect(report).toMatchObject({ claimed: 6, succeeded: 5, retried: 0 });
  expect(report.cancelled + report.lost).toBe(1);
});

test("a job that ends while a transaction cancels it ends as that transaction does", async () => {
  await using t = await setup();
  for (const how of ["ROLLBACK", "COMMIT"] as const) {
    await enqueueCounts(t, 2);
    const begun = Promise.withResolvers<Context>();
    const release = Promise.withResolvers<undefined>();
    const draining = createHost(t, async (job) => {
      if (job.payload.n === 0) begun.resolve(job);
      await release.promise;
    }).drain(budget);
    const { id } = await begun.promise;
    const { tx, end } = await begin(t);
    await cancelJob(tx, { tenantId: "t", id }, { by: "checkout", reason: "the order is void" });
    const before = (await t.history()).length;
    release.resolve(undefined);
    // The other one is settled beside it.
    await vi.waitFor(async () => expect(await t.history()).toHaveLength(before + 1), {
      timeout: 60_000,
    });
    await end(how);
    const isCancelled = how === "COMMIT";
    expect(await draining).toMatchObject({
      succeeded: isCancelled ? 1 : 2,
      cancelled: isCancelled ? 1 : 0,
      lost: 0,
    });
    const ended = (await t.history()).find((job) => job.id === id);
    expect(ended?.outcome).toBe(isCancelled ? "CANCELLED" : "SUCCEEDED");
  }
});

test("completeIn of a cancelled job is refused, and what it wrote is rolled back", async () => {
  await using t = await setup();
  await t.database.pool.query(`CREATE TABLE effect (job text PRIMARY KEY)`);
  await enqueueCounts(t, 1);
  const refused = Promise.withResolvers<unknown>();
  const draining = createHost(t, async (job) => {
    const { tx, end } = await begin(t);
    await tx.query(`INSERT INTO effect VALUES ($1)`, [job.id]);
    await cancel(t, job.id);
    try {
      await job.completeIn(tx);
      await end("COMMIT");
    } catch (error) {
      await end("ROLLBACK");
      refused.resolve(error);
      throw error;
    }
  }).drain(budget);
  expect(await refused.promise).toEqual(cancelled);
  expect(await draining).toMatchObject({ claimed: 1, succeeded: 0, cancelled: 1 });
  const { rows } = await t.database.pool.query(`SELECT FROM effect`);
  expect(rows).toEqual([]);
});

test("an effect under way is recorded when its job is cancelled, and none is begun after that", async () => {
  await using t = await setup();
  await enqueueCounts(t, 1);
  const made: string[] = [];
  const refused = Promise.withResolvers<unknown>();
  const draining = createHost(t, async ({ effects, id }) => {
    await effects.once("charge", async () => {
      await cancel(t, id);
      made.push("charge");
      return "receipt";
    });
    const next = effects.once("mail", async () => void made.push("mail"));
    await next.catch((error: unknown) => refused.resolve(error));
  }).drain(budget);
  expect(await refused.promise).toEqual(cancelled);
  expect(await draining).toMatchObject({ cancelled: 1 });
  expect(made).toEqual(["charge"]);
  const [job] = await t.history();
  expect(await t.ledger.asOperator("ada").effects.list(job?.id ?? "")).toMatchObject([
    { name: "charge", state: "DONE", result: "receipt" },
  ]);
});

test("an isolated job is cancelled before its run starts and while it runs", async () => {
  await using t = await setup();
  await enqueueCounts(t, 2);
  const begun = Promise.withResolvers<Context>();
  const fired = Promise.withResolvers<unknown>();
  const host = createHost(
    t,
    async (job) => {
      job.signal.addEventListener("abort", () => fired.resolve(job.signal.reason));
      begun.resolve(job);
      await fired.promise;
    },
    { isolated: true },
  );
  let asked: readonly Pick<ClaimedJob, "id" | "fence">[] = [];
  const requestRuns = async (jobs: typeof asked): Promise<void> => {
    asked = jobs;
  };
  expect(await host.drain({ ...budget, requestRuns })).toMatchObject({ delegated: 2 });
  const [first, second] = asked;
  if (first === undefined || second === undefined) throw new Error("Two runs were asked for.");
  expect(await cancel(t, first.id)).toMatchObject({ cancelled: true, status: "SCHEDULED" });
  expect(await host.runOne(first)).toMatchObject({ claimed: 0 });
  const running = host.runOne(second);
  await begun.promise;
  expect(await cancel(t, second.id)).toMatchObject({ cancelled: true, status: "RUNNING" });
  expect(await fired.promise).toEqual(cancelled);
  expect(await running).toMatchObject({ claimed: 1, cancelled: 1 });
});
