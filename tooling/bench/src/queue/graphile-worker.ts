import { Logger, makeWorkerUtils, run, type Runner, type RunnerOptions } from "graphile-worker";
import { Pool } from "pg";
import { z } from "zod";

import { concurrency, epochMs, inBulk, type Contender } from "./contender.ts";

const payloadSchema = z.object({ n: z.number() });

/** What its performance page recommends. */
const batching = { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 };

/** graphile-worker, plain, or with the batching that its performance page recommends. */
export async function graphileWorker(
  database: string,
  databaseUrl: string,
  isBatched: boolean,
): Promise<Contender> {
  const pool = new Pool({ connectionString: databaseUrl, max: concurrency + 1 });
  // It asks for a handler of each event; what fails shows in the calls.
  pool.on("error", () => {});
  pool.on("connect", (client) => client.on("error", () => {}));
  const utils = await makeWorkerUtils({ pgPool: pool });
  const start = (task: (payload: unknown) => Promise<void>): Promise<Runner> => {
    const options: RunnerOptions = {
      pgPool: pool,
      noHandleSignals: true,
      // Lines per job are no part of the queue.
      logger: new Logger(() => () => {}),
      preset: { worker: { concurrentJobs: concurrency, ...(isBatched ? batching : {}) } },
      taskList: { bench: task },
    };
    return run(options);
  };
  return {
    name: isBatched ? "graphile-worker, batched" : "graphile-worker",
    database,
    schema: "graphile_worker",
    enqueue: (count) =>
      inBulk(count, (numbers) =>
        utils.addJobs(numbers.map((n) => ({ identifier: "bench", payload: { n } }))),
      ),
    drain: async (count, work) => {
      let done = 0;
      const all = Promise.withResolvers<undefined>();
      const runner = await start(async () => {
        await work();
        done += 1;
        if (done === count) all.resolve(undefined);
      });
      await all.promise;
      // Ends once every completion is written.
      await runner.stop();
    },
    // Its workers listen: the insert notifies them.
    startWorker: async (onStart) => {
      const runner = await start(async (payload) => {
        onStart(payloadSchema.parse(payload).n, epochMs());
      });
      return {
        enqueueOne: (n) => utils.addJob("bench", { n }),
        stop: () => runner.stop(),
      };
    },
    close: async () => {
      await utils.release();
      await pool.end();
    },
  };
}
