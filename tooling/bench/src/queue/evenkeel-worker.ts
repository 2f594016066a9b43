import { createServer, type Server } from "node:http";

import { silentLogger } from "@evenkeel/core";
import { createDispatcher, createNudge, createReconciler } from "@evenkeel/dispatch";
import { createEngine } from "@evenkeel/engine";
import {
  createBackgroundClient,
  createBackgroundFunctions,
  createEventSender,
} from "@evenkeel/functions";
import { createRunner, enqueue, handleJob } from "@evenkeel/jobs";
import type { Ledger } from "@evenkeel/ledger";
import { serve } from "inngest/node";
import type { Pool } from "pg";

import { benchJob, tenantOf } from "./bench-job.ts";
import { concurrency, epochMs, type OnStart, type PickupWorker } from "./contender.ts";

/**
 * Ours as a product has it: every enqueue is followed by a nudge, which asks an engine over HTTP for a run of the
 * process function when no drain waits; the run is a request to this process, and its drain waits for more.
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
  const owner = "bench";
  const logger = silentLogger;
  const environment = "bench";
  const handler = handleJob(benchJob, async ({ payload: { n } }) => onStart(n, epochMs()));
  const runner = createRunner({ ledger, handlers: [handler], owner, concurrency, logger });
  const stopping = new AbortController();
  let answer: ReturnType<typeof serve> | undefined;
  const server = createServer((request, response) => {
    answer?.(request, response);
  });
  const app = `http://127.0.0.1:${await listen(server)}/api/inngest`;
  const engine = createEngine();
  const { url } = await engine.listen();
  const client = createBackgroundClient({
    appId: "bench",
    config: { dev: true, baseUrl: url },
    ledger,
    owner,
    logger,
  });
  const useInngest = { enabled: true, because: "bench" };
  const dispatcher = createDispatcher({
    ledger,
    send: createEventSender(client),
    config: { useInngest, windowSeconds: 60 },
    environment,
    owner,
    logger,
  });
  const functions = createBackgroundFunctions({
    client,
    ledger,
    runner: {
      runOne: async (job) => runner.runOne(job),
      drain: async (options) => runner.drain({ ...options, stopSignal: stopping.signal }),
    },
    reconciler: createReconciler({ ledger, dispatcher, owner, logger }),
    config: { concurrency: 4 },
    environment,
    logger,
  });
  answer = serve({ client, functions });
  await engine.register(app);
  const nudge = createNudge({ dispatcher, ledger, schedule: "bench", logger });
  return {
    enqueueOne: async (n) => {
      await enqueue(pool, benchJob, { tenantId: tenantOf(n), payload: { n } });
      void nudge();
    },
    stop: async () => {
      stopping.abort();
      await nudge();
      await engine.close();
      server.closeAllConnections();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    },
  };
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}
