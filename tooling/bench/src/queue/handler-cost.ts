import { createRunner, handleJob, type JobHandler } from "@evenkeel/jobs";
import { Pool } from "pg";

import type { Arena } from "./arena.ts";
import { benchJob, enqueueBenchJobs } from "./bench-job.ts";
import { concurrency, nothing } from "./contender.ts";
import { openLedger } from "./evenkeel.ts";
import { inTurn, rate } from "./rates.ts";

/** Milliseconds that a handler's call adds to each job of a drain, by round. */
export interface HandlerCost {
  readonly once: readonly number[];
  readonly completeIn: readonly number[];
}

type Kind = "plain" | keyof HandlerCost;

const kinds: readonly Kind[] = ["plain", "once", "completeIn"];

/**
 * Drains as many jobs with a handler that does nothing, with one that records an effect, and with one that completes its
 * job in a transaction of its own, in turn, after a round that is left out. What is added is of the drain as a whole,
 * where as many handlers run at a time as everywhere here: a single call waits longer.
 */
export async function measureHandlerCost(
  arena: Arena,
  { count, rounds }: { readonly count: number; readonly rounds: number },
): Promise<HandlerCost> {
  const url = arena.url(await arena.createDatabase("handlers"));
  const opened = await openLedger(url);
  const { ledger, pool } = opened;
  // A product's own connections: a transaction of each handler that runs.
  const product = new Pool({ connectionString: url, max: concurrency });
  product.on("error", () => {});
  const handlers: Record<Kind, JobHandler> = {
    plain: handleJob(benchJob, nothing),
    once: handleJob(benchJob, async ({ effects }) => {
      await effects.once("send", async () => "sent");
    }),
    completeIn: handleJob(benchJob, async ({ completeIn }) => {
      const tx = await product.connect();
      try {
        await tx.query("BEGIN");
        await completeIn(tx);
        await tx.query("COMMIT");
      } finally {
        tx.release();
      }
    }),
  };
  const cost = { once: [] as number[], completeIn: [] as number[] };
  for (let round = 0; round <= rounds; round += 1) {
    const msPerJob = { plain: 0, once: 0, completeIn: 0 };
    for (const kind of inTurn(kinds, round)) {
      await enqueueBenchJobs(pool, count);
      const runner = createRunner({
        ledger,
        handlers: [handlers[kind]],
        owner: "bench",
        concurrency,
      });
      const perSecond = await rate(count, async () => {
        const { succeeded } = await runner.drain({ budgetMs: 3_600_000 });
        if (succeeded !== count) throw new Error(`${succeeded} of ${count} jobs succeeded.`);
      });
      msPerJob[kind] = 1_000 / perSecond;
    }
    if (round === 0) continue;
    cost.once.push(msPerJob.once - msPerJob.plain);
    cost.completeIn.push(msPerJob.completeIn - msPerJob.plain);
  }
  await product.end();
  await opened.close();
  return cost;
}
