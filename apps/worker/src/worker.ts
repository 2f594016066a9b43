import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";

import {
  createDispatcher,
  createOutboxRelay,
  createReconciler,
  createWatchdog,
  defineSchedule,
} from "@evenkeel/dispatch";
import type { Logger } from "@evenkeel/core";
import {
  createBackgroundClient,
  createBackgroundFunctions,
  createEventSender,
  createOutboxSender,
} from "@evenkeel/functions";
import { createInbox } from "@evenkeel/inbox";
import { createRunner } from "@evenkeel/jobs";
import { createLedger, createPruner, type Ledger } from "@evenkeel/ledger";
import { serve } from "inngest/node";
import { Pool } from "pg";

import type { WorkerEnvironment } from "./environment.ts";
import { repeat } from "./repeat.ts";

/** A worker that listens. */
export interface Worker {
  /** Its address on this machine. */
  readonly url: string;
  /** Takes no more work, lets running jobs end within the drain time, and closes. */
  stop(): Promise<void>;
}

/**
 * Starts a worker: migrates the ledger, then serves the background functions at `/api/inngest`, and
 * `/healthz` and `/readyz` for the platform.
 *
 * @throws LedgerError when the database cannot be reached.
 */
export async function startWorker({
  environment,
  owner,
  logger,
}: {
  readonly environment: WorkerEnvironment;
  readonly owner: string;
  readonly logger: Logger;
}): Promise<Worker> {
  const { config } = environment;
  const pool = new Pool({ connectionString: config.databaseUrl, max: 20 });
  pool.on("error", (error) => logger.warn("worker.connection_lost", { error: error.message }));
  const ledger = createLedger({ pool, logger });
  const { replyDelayMs, simulatedFaults } = environment.inbox;
  const inbox = createInbox({
    pool,
    replyDelayMs,
    ...(simulatedFaults ? { faults: { drafterOverloaded: 0.08, mailboxGone: 0.01 } } : {}),
  });
  try {
    await ledger.migrate();
    await inbox.prepare();
  } catch (error) {
    await pool.end();
    throw error;
  }

  const stopping = new AbortController();
  const aborting = new AbortController();
  const runner = createRunner({ ledger, handlers: inbox.handlers, owner, logger });
  const client = createBackgroundClient({
    appId: "evenkeel",
    config: config.inngest,
    ledger,
    owner,
    logger,
  });
  const dispatcher = createDispatcher({
    ledger,
    send: createEventSender(client),
    config,
    environment: config.environment,
    owner,
    logger,
  });
  const watchdog = createWatchdog({
    schedules: [
      defineSchedule({ id: "background-jobs", every: config.windowSeconds, catchUp: "latest" }),
    ],
    ledger,
    dispatcher,
    owner,
    logger,
  });
  const relay = createOutboxRelay({ ledger, send: createOutboxSender(client), owner, logger });
  const { neverStartedAfterMs, staleAfterMs } = environment;
  const reconciler = createReconciler({
    ledger,
    dispatcher,
    owner,
    neverStartedAfterMs,
    staleAfterMs,
    logger,
  });
  const functions = createBackgroundFunctions({
    client,
    ledger,
    reconciler,
    pruner: createPruner({ ledger, logger }),
    runner: {
      drain: (options) =>
        runner.drain({ ...options, stopSignal: stopping.signal, signal: aborting.signal }),
      runOne: (job, options) =>
        runner.runOne(job, { ...options, stopSignal: stopping.signal, signal: aborting.signal }),
    },
    environment: config.environment,
    config,
    logger,
  });
  const serveFunctions = serve({
    client,
    functions,
    ...(environment.serveOrigin === undefined ? {} : { serveOrigin: environment.serveOrigin }),
  });

  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://localhost");
    response.once("close", () => {
      // What was at work when the worker stopped has ended: its connection must not hold the server.
      if (stopping.signal.aborted) server.closeIdleConnections();
    });
    if (pathname === "/api/inngest" && stopping.signal.aborted) {
      answer(response, 503, { error: "draining" });
    } else if (pathname === "/api/inngest") serveFunctions(request, response);
    else if (pathname === "/healthz") answer(response, 200, { ok: true });
    else if (pathname === "/readyz") {
      void answerReadiness(response, ledger, stopping.signal.aborted);
    } else answer(response, 404, { error: "not_found" });
  });
  server.listen(environment.port, environment.host);
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" ? address?.port : undefined;
  const url = `http://127.0.0.1:${port ?? environment.port}`;
  const relaying = relay.start();
  // On a timer of its own: maintenance runs only when ticks come, and this looks for those that did not.
  const watching = environment.watchesSchedules
    ? repeat(
        60_000,
        async () => {
          await watchdog.declare();
          await watchdog.run();
        },
        (error) => logger.warn("worker.watch_failed", { error: String(error) }),
      )
    : undefined;
  logger.info("worker.listening", { url, owner });

  return {
    url,
    stop: async () => {
      stopping.abort();
      const closed = once(server, "close");
      server.close();
      server.closeIdleConnections();
      const timer = setTimeout(() => aborting.abort(), environment.drainMs);
      await closed;
      await Promise.all([relaying.stop(), watching?.stop()]);
      clearTimeout(timer);
      await ledger.close();
      await pool.end();
    },
  };
}

async function answerReadiness(
  response: ServerResponse,
  ledger: Ledger,
  isStopping: boolean,
): Promise<void> {
  if (isStopping) return answer(response, 503, { ok: false, reason: "draining" });
  try {
    await ledger.ping();
    answer(response, 200, { ok: true });
  } catch {
    answer(response, 503, { ok: false, reason: "database" });
  }
}

function answer(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { "content-type": "application/json", "cache-control": "no-store" });
  response.end(JSON.stringify(body));
}
