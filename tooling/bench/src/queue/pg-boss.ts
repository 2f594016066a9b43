import { PgBoss } from "pg-boss";

import { concurrency, epochMs, inBulk, type Contender } from "./contender.ts";

/** Several workers that fetch full batches one after another. */
const working = {
  batchSize: 500,
  burstWhenBatchFull: true,
  // The shortest that it takes.
  pollingIntervalSeconds: 0.5,
  notifyPollingIntervalSeconds: 0.5,
  localConcurrency: 4,
};

/** pg-boss: a queue that is filled and drained in batches, and one whose inserts notify the workers. */
export async function pgBoss(database: string, databaseUrl: string): Promise<Contender> {
  const boss = new PgBoss({
    connectionString: databaseUrl,
    max: 10,
    supervise: false,
    schedule: false,
    useListenNotify: true,
  });
  await boss.start();
  await boss.createQueue("bench");
  await boss.createQueue("notified", { notify: true });
  return {
    name: "pg-boss",
    database,
    schema: "pgboss",
    enqueue: (count) =>
      inBulk(count, (numbers) =>
        boss.insert(
          "bench",
          numbers.map((n) => ({ data: { n } })),
        ),
      ),
    drain: async (count, work) => {
      let done = 0;
      const all = Promise.withResolvers<undefined>();
      await boss.work("bench", working, async (jobs) => {
        // As many at a time as the others run.
        let next = 0;
        const lane = async (): Promise<void> => {
          while (next < jobs.length) {
            next += 1;
            await work();
          }
        };
        await Promise.all(Array.from({ length: concurrency / working.localConcurrency }, lane));
        done += jobs.length;
        if (done === count) all.resolve(undefined);
      });
      await all.promise;
      await boss.offWork("bench", { wait: true });
    },
    startWorker: async (onStart) => {
      await boss.work<{ n: number }>("notified", working, async (jobs) => {
        const atMs = epochMs();
        for (const { data } of jobs) onStart(data.n, atMs);
      });
      return {
        enqueueOne: (n) => boss.send("notified", { n }),
        stop: () => boss.offWork("notified", { wait: true }),
      };
    },
    close: () => boss.stop({ graceful: false }),
  };
}
