import { createRunner, handleJob } from "@evenkeel/jobs";
import { createLedger, type Ledger } from "@evenkeel/ledger";
import { Pool } from "pg";

import { benchJob, enqueueBenchJobs } from "./bench-job.ts";
import { concurrency, type Contender } from "./contender.ts";
import { startEvenkeelWorker } from "./evenkeel-worker.ts";

/** A migrated ledger in a database, and its pool. */
export async function openLedger(
  databaseUrl: string,
): Promise<{ ledger: Ledger; pool: Pool; close(): Promise<void> }> {
  const pool = new Pool({ connectionString: databaseUrl, max: 10 });
  // A connection that is still closing when the server stops is told so.
  pool.on("error", () => {});
  const ledger = createLedger({ pool });
  await ledger.migrate();
  const close = async (): Promise<void> => {
    await ledger.close();
    await pool.end();
  };
  return { ledger, pool, close };
}

/** Ours, with leases, fences, tenants in turn and history on. */
export async function evenkeel(database: string, databaseUrl: string): Promise<Contender> {
  const opened = await openLedger(databaseUrl);
  const { ledger, pool } = opened;
  return {
    name: "evenkeel",
    database,
    schema: "evenkeel",
    enqueue: (count) => enqueueBenchJobs(pool, count),
    drain: async (count, work) => {
      const handlers = [handleJob(benchJob, work)];
      const runner = createRunner({ ledger, handlers, owner: "bench", concurrency });
      const { succeeded } = await runner.drain({ budgetMs: 3_600_000 });
      if (succeeded !== count) throw new Error(`${succeeded} of ${count} jobs succeeded.`);
    },
    startWorker: (onStart) => startEvenkeelWorker({ ledger, pool, onStart }),
    close: () => opened.close(),
  };
}
