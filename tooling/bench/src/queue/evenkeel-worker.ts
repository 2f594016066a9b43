import { setTimeout as sleep } from "node:timers/promises";

import { createRunner, enqueue, handleJob } from "@evenkeel/jobs";
import type { Ledger } from "@evenkeel/ledger";
import type { Pool } from "pg";

import { benchJob, tenantOf } from "./bench-job.ts";
import { concurrency, epochMs, type OnStart, type PickupWorker } from "./contender.ts";

/** How long a worker that nobody woke waits before it looks again, in milliseconds. */
const pollMs = 250;

/**
 * How ours is woken, for the pickup measurement alone: the one place to switch. A loop of drains in this
 * process, woken by each enqueue; it becomes the nudge and a lingering drain behind an engine's functions.
 */
export async function startEvenkeelWorker({
  ledger,
  pool,
  onStart,
}: {
  readonly ledger: Ledger;
  readonly pool: Pool;
  readonly onStart: OnStart;
}): Promise<PickupWorker> {
  const handler = handleJob(benchJob, async ({ payload: { n } }) => onStart(n, epochMs()));
  const runner = createRunner({ ledger, handlers: [handler], owner: "bench", concurrency });
  const stopping = new AbortController();
  let woken = Promise.withResolvers<undefined>();
  const loop = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      woken = Promise.withResolvers();
      await runner.drain({ budgetMs: 60_000, stopSignal: stopping.signal });
      await Promise.race([woken.promise, sleep(pollMs)]);
    }
  };
  const running = loop();
  return {
    enqueueOne: async (n) => {
      await enqueue(pool, benchJob, { tenantId: tenantOf(n), payload: { n } });
      woken.resolve(undefined);
    },
    stop: async () => {
      stopping.abort();
      woken.resolve(undefined);
      await running;
    },
  };
}
