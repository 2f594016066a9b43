import { createRunner, defineJob, enqueueMany, handleJob } from "@evenkeel/jobs";
import { createLedger } from "@evenkeel/ledger";
import { Logger, makeWorkerUtils, run, type RunnerOptions } from "graphile-worker";
import { Pool } from "pg";
import { PgBoss } from "pg-boss";
import { z } from "zod";

/** What a job does. */
export type Work = () => Promise<void>;

/** A queue under test. */
export interface Contender {
  readonly name: string;
  /** Stores so many jobs, in bulk calls of {@link bulk}. */
  enqueue(count: number): Promise<void>;
  /** Starts what it needs, runs every job that is stored, and answers when the last one is settled. */
  drain(count: number, work: Work): Promise<void>;
  close(): Promise<void>;
}

/** Jobs running at a time, for each. */
const concurrency = 24;
/** Jobs per bulk call, for each. */
const bulk = 1_000;
const tenants = 50;

async function inBulk(
  count: number,
  store: (from: number, to: number) => Promise<unknown>,
): Promise<void> {
  for (let from = 0; from < count; from += bulk) await store(from, Math.min(count, from + bulk));
}

function numbers(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index);
}

/** Ours, with leases, fences, tenants in turn and history on. */
export async function evenkeel(databaseUrl: string): Promise<Contender> {
  const pool = new Pool({ connectionString: databaseUrl, max: 10 });
  const ledger = createLedger({ pool });
  await ledger.migrate();
  const job = defineJob({ type: "bench", version: 1, payload: z.object({ n: z.number() }) });
  return {
    name: "evenkeel",
    enqueue: (count) =>
      inBulk(count, (from, to) =>
        enqueueMany(
          pool,
          job,
          numbers(from, to).map((n) => ({ tenantId: `tenant-${n % tenants}`, payload: { n } })),
        ),
      ),
    drain: async (count, work) => {
      const handlers = [handleJob(job, work)];
      const runner = createRunner({
        ledger,
        handlers,
        owner: "bench",
        concurrency,
      });
      const { succeeded } = await runner.drain({ budgetMs: 3_600_000 });
      if (succeeded !== count) throw new Error(`${succeeded} of ${count} jobs succeeded.`);
    },
    close: async () => {
      await ledger.close();
      await pool.end();
    },
  };
}

/** graphile-worker, plain, or with the batching that its performance page recommends. */
export async function graphileWorker(databaseUrl: string, isBatched: boolean): Promise<Contender> {
  const pool = new Pool({ connectionString: databaseUrl, max: concurrency + 1 });
  // It asks for a handler of each event; what fails shows in the calls.
  pool.on("error", () => {});
  pool.on("connect", (client) => client.on("error", () => {}));
  const utils = await makeWorkerUtils({ pgPool: pool });
  const batching = { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 };
  return {
    name: isBatched ? "graphile-worker, batched" : "graphile-worker",
    enqueue: (count) =>
      inBulk(count, (from, to) =>
        utils.addJobs(numbers(from, to).map((n) => ({ identifier: "bench", payload: { n } }))),
      ),
    drain: async (count, work) => {
      let done = 0;
      const all = Promise.withResolvers<undefined>();
      const options: RunnerOptions = {
        pgPool: pool,
        noHandleSignals: true,
        // Lines per job are no part of the queue.
        logger: new Logger(() => () => {}),
        preset: { worker: { concurrentJobs: concurrency, ...(isBatched ? batching : {}) } },
        taskList: {
          bench: async () => {
            await work();
            done += 1;
            if (done === count) all.resolve(undefined);
          },
        },
      };
      const runner = await run(options);
      await all.promise;
      // Ends once every completion is written.
      await runner.stop();
    },
    close: async () => {
      await utils.release();
      await pool.end();
    },
  };
}

/** pg-boss, with several workers that fetch full batches one after another. */
export async function pgBoss(databaseUrl: string): Promise<Contender> {
  const boss = new PgBoss({
    connectionString: databaseUrl,
    max: 10,
    supervise: false,
    schedule: false,
  });
  await boss.start();
  await boss.createQueue("bench");
  return {
    name: "pg-boss",
    enqueue: (count) =>
      inBulk(count, (from, to) =>
        boss.insert(
          "bench",
          numbers(from, to).map((n) => ({ data: { n } })),
        ),
      ),
    drain: async (count, work) => {
      let done = 0;
      const all = Promise.withResolvers<undefined>();
      const options = {
        batchSize: 500,
        burstWhenBatchFull: true,
        pollingIntervalSeconds: 0.5,
        localConcurrency: 4,
      };
      await boss.work("bench", options, async (jobs) => {
        // As many at a time as the others run.
        let next = 0;
        const lane = async (): Promise<void> => {
          while (next < jobs.length) {
            next += 1;
            await work();
          }
        };
        await Promise.all(Array.from({ length: concurrency / options.localConcurrency }, lane));
        done += jobs.length;
        if (done === count) all.resolve(undefined);
      });
      await all.promise;
      await boss.offWork("bench", { wait: true });
    },
    close: () => boss.stop({ graceful: false }),
  };
}
