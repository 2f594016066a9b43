import { once } from "node:events";

import type { Logger } from "@evenkeel/core";
import { createInbox } from "@evenkeel/inbox";
import { Pool } from "pg";

import { composeBackground } from "./background.ts";
import type { WorkerEnvironment } from "./env.ts";
import { createHttpServer } from "./http-server.ts";

/** A worker that listens. */
export interface Worker {
  /** Its address on this machine. */
  readonly url: string;
  /**
   * Takes no more work, lets running jobs end within the drain time, and closes. A client that is still
   * connected after the time for their release is cut off.
   */
  stop(): Promise<void>;
}

/** What {@link startWorker} works with. */
export interface WorkerOptions {
  readonly environment: WorkerEnvironment;
  readonly logger: Logger;
  /** How long jobs may take to be released after their signals have fired, in milliseconds; defaults to 5,000. */
  readonly releaseMs?: number;
}

/**
 * Starts a worker: migrates the ledger, then serves the background functions, relays the outbox and watches
 * the schedules.
 *
 * @throws LedgerError when the database cannot be reached.
 */
export async function startWorker(options: WorkerOptions): Promise<Worker> {
  const { environment, logger, releaseMs = 5_000 } = options;
  const pool = new Pool({
    connectionString: environment.config.databaseUrl,
    max: 20,
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
  });
  const { replyDelayMs, simulatedFaults } = environment.inbox;
  const inbox = createInbox({
    pool,
    replyDelayMs,
    ...(simulatedFaults ? { faults: { drafterOverloaded: 0.08, mailboxGone: 0.01 } } : {}),
  });
  const stopping = new AbortController();
  const aborting = new AbortController();
  const background = composeBackground({
    environment,
    logger,
    pool,
    inbox,
    stopSignal: stopping.signal,
    signal: aborting.signal,
  });
  try {
    await background.migrate();
    await inbox.prepare();
  } catch (error) {
    await background.close();
    await pool.end();
    throw error;
  }

  const server = createHttpServer({ background, stopSignal: stopping.signal, logger });
  server.listen(environment.port, environment.host);
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" ? address?.port : undefined;
  const url = `http://127.0.0.1:${port ?? environment.port}`;
  background.start({ watchdog: environment.watchesSchedules });
  logger.info("worker.listening", { url, owner: background.parts().owner });

  return {
    url,
    stop: async () => {
      stopping.abort();
      const closed = once(server, "close");
      server.close();
      server.closeIdleConnections();
      const { drainMs } = environment;
      const drain = setTimeout(() => aborting.abort(), drainMs);
      // A client that never ends its request, or never reads its response, must not hold the process.
      const cut = setTimeout(() => server.closeAllConnections(), drainMs + releaseMs);
      await closed;
      clearTimeout(cut);
      await background.close();
      clearTimeout(drain);
      await pool.end();
    },
  };
}
