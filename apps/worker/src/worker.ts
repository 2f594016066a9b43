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
  /** Takes no more work, lets running jobs end within the drain time, and closes. */
  stop(): Promise<void>;
}

/** What {@link startWorker} works with. */
export interface WorkerOptions {
  readonly environment: WorkerEnvironment;
  readonly logger: Logger;
}

/**
 * Starts a worker: migrates the ledger, then serves the background functions, relays the outbox and watches
 * the schedules.
 *
 * @throws LedgerError when the database cannot be reached.
 */
export async function startWorker(options: WorkerOptions): Promise<Worker> {
  const { environment, logger } = options;
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

  const server = createHttpServer({ background, stopSignal: stopping.signal });
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
      const timer = setTimeout(() => aborting.abort(), environment.drainMs);
      await closed;
      await background.close();
      clearTimeout(timer);
      await pool.end();
    },
  };
}
