import { once } from "node:events";

import type { Logger } from "@evenkeel/core";
import { createInbox } from "@evenkeel/inbox";
import { Pool } from "pg";

import { composeBackground } from "./background.ts";
import type { WorkerEnvironment } from "./env.ts";
import { createHttpServer } from "./http-server.ts";
import { shutDown, type ShutdownStep } from "./shutdown.ts";

/** A worker that listens. */
export interface Worker {
  /** Its address on this machine. */
  readonly url: string;
  /**
   * Takes no more work, lets running jobs end within the drain time, and closes. A client that is still
   * connected after the time for their release is cut off. Whatever hangs, it is over `closeMs` later. Repeated calls
   * return the same promise.
   *
   * @returns Whether everything was closed in time; else the process has to exit.
   */
  stop(): Promise<boolean>;
}

/** What {@link startWorker} works with. */
export interface WorkerOptions {
  readonly environment: WorkerEnvironment;
  readonly logger: Logger;
  /** How long jobs may take to be released after their signals have fired, in milliseconds; defaults to 5,000. */
  readonly releaseMs?: number;
  /** How long closing may take after that, in milliseconds; defaults to 5,000. */
  readonly closeMs?: number;
}

/**
 * Starts a worker: migrates the ledger unless `MIGRATE` is `off`, then serves the background functions, relays the
 * outbox and watches the schedules.
 *
 * @throws LedgerError when the database has to be migrated and cannot be.
 */
export async function startWorker(options: WorkerOptions): Promise<Worker> {
  const { environment, logger, releaseMs = 5_000, closeMs = 5_000 } = options;
  const stopping = new AbortController();
  const aborting = new AbortController();
  const { pool, background, migrate } = compose(options, stopping.signal, aborting.signal);
  if (environment.config.migrate !== "off") await migrate();

  const server = createHttpServer({ background, stopSignal: stopping.signal, logger });
  server.listen(environment.port, environment.host);
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" ? address?.port : undefined;
  const url = `http://127.0.0.1:${port ?? environment.port}`;
  background.start({ watchdog: environment.watchesSchedules });
  logger.info("worker.listening", { url, owner: background.parts().owner });

  async function stop(): Promise<boolean> {
    stopping.abort();
    const closed = once(server, "close");
    server.close();
    server.closeIdleConnections();
    const { drainMs } = environment;
    const drain = setTimeout(() => aborting.abort(), drainMs);
    // A client that never ends its request, or never reads its response, must not hold the process.
    const cut = setTimeout(() => server.closeAllConnections(), drainMs + releaseMs);
    const steps: ShutdownStep[] = [
      ["requests", () => closed],
      ["background", () => background.close()],
      // A handler that ignores its signal may hold a connection for good.
      ["connections", () => pool.end()],
    ];
    const isClosed = await shutDown(steps, drainMs + releaseMs + closeMs, logger);
    clearTimeout(cut);
    clearTimeout(drain);
    return isClosed;
  }

  let stopped: Promise<boolean> | undefined;
  return {
    url,
    stop: () => {
      stopped ??= stop();
      return stopped;
    },
  };
}

/**
 * Brings the database to this build's schema, and ends.
 *
 * @throws LedgerError when it cannot.
 */
export async function migrateOnly(options: WorkerOptions): Promise<void> {
  const { signal } = new AbortController();
  const { migrate, close } = compose(options, signal, signal);
  await migrate();
  await close();
}

/** Makes a worker's parts. Nothing is connected. */
function compose(
  { environment, logger }: WorkerOptions,
  stopSignal: AbortSignal,
  signal: AbortSignal,
) {
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
  const background = composeBackground({ environment, logger, pool, inbox, stopSignal, signal });
  const close = async (): Promise<void> => {
    await background.close();
    await pool.end();
  };
  const migrate = async (): Promise<void> => {
    try {
      await background.migrate();
      await inbox.prepare();
    } catch (error) {
      await close();
      throw error;
    }
  };
  return { pool, background, migrate, close };
}
