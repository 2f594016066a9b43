import { createPostgresBackend, Queue, runMigrations, Worker } from "bullmq";
import { Client } from "pg";
import { z } from "zod";

import { concurrency, epochMs, inBulk, type Contender } from "./contender.ts";

const dataSchema = z.object({ n: z.number() });

/**
 * BullMQ on its Postgres backend, as its page on that backend and its own benchmark have it: one worker of a high
 * concurrency, a pool as large as that beside the connection that listens, jobs in bulk, and jobs that are removed once
 * they have ended. A worker completes one job and takes the next in one statement; batches are not in the free edition.
 */
export async function bullMq(database: string, databaseUrl: string): Promise<Contender> {
  await migrate(databaseUrl);
  const connection = { connectionString: databaseUrl, max: concurrency };
  const queue = new Queue(
    "bench",
    { connection, defaultJobOptions: { removeOnComplete: true, removeOnFail: true } },
    createPostgresBackend,
  );
  // It asks for a handler; what fails shows in the calls.
  queue.on("error", () => {});
  await queue.waitUntilReady();
  return {
    name: "BullMQ",
    database,
    schema: "bullmq",
    enqueue: (count) =>
      inBulk(count, (numbers) =>
        queue.addBulk(numbers.map((n) => ({ name: "bench", data: { n } }))),
      ),
    drain: async (count, work) => {
      let done = 0;
      const all = Promise.withResolvers<undefined>();
      const worker = new Worker(
        "bench",
        async () => {
          await work();
          done += 1;
          if (done === count) all.resolve(undefined);
        },
        { connection, concurrency },
        createPostgresBackend,
      );
      worker.on("error", all.reject);
      await all.promise;
      // Ends once every completion is written.
      await worker.close();
    },
    // Its workers listen: the insert notifies them.
    startWorker: async (onStart) => {
      const worker = new Worker(
        "bench",
        async ({ data }) => onStart(dataSchema.parse(data).n, epochMs()),
        { connection, concurrency },
        createPostgresBackend,
      );
      worker.on("error", () => {});
      await worker.waitUntilReady();
      return {
        enqueueOne: (n) => queue.add("bench", { n }),
        stop: () => worker.close(),
      };
    },
    close: () => queue.close(),
  };
}

/** A step of its own: connections apply nothing. */
async function migrate(databaseUrl: string): Promise<void> {
  const client = new Client({ connectionString: databaseUrl });
  await client.connect();
  await runMigrations(client);
  await client.end();
}
