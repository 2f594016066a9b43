import type { IncomingMessage, Server, ServerResponse } from "node:http";

import { silentLogger, type Logger } from "@evenkeel/core";
import type { Environment, Receipt, Suspect, SuspectCause } from "@evenkeel/dispatch";
import { createLedger } from "@evenkeel/ledger";
import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import { serve } from "inngest/node";
import { vi } from "vitest";

import { createBackgroundClient } from "../background-client.ts";
import { createBackground, type Background } from "../background.ts";
import {
  closeServer,
  freePort,
  listenOn,
  portOf,
  signingKey,
  startProxy,
  type FaultServer,
  type StartFaultServer,
} from "./handshake-servers.ts";

/** A host over HTTP. */
export type FaultHost = Background<[IncomingMessage, ServerResponse], unknown>;

/** What a fault is seeded in: a database, an Inngest server, and hosts over HTTP that share them. */
export interface FaultScene {
  readonly database: TestDatabase;
  readonly server: FaultServer;
  readonly startServer: StartFaultServer;
  /** Events of the log, by name. */
  readonly logged: string[];
  /** Opens a host that ticks and serves no functions. */
  openWeb(change?: Environment): FaultHost;
  /** Opens a host that serves, at a port or a free one, and starts it. */
  openWorker(options?: WorkerOptions): Promise<OpenWorker>;
  /** Closes something at the scene's end, before the database. */
  defer(close: () => Promise<unknown>): void;
  close(): Promise<void>;
}

/** What {@link FaultScene.openWorker} takes. */
export interface WorkerOptions {
  readonly port?: number;
  readonly environment?: Environment;
  readonly appVersion?: string;
}

/** A host that serves. */
export interface OpenWorker {
  readonly host: FaultHost;
  readonly server: Server;
  readonly port: number;
  readonly serveUrl: string;
}

const appId = "shop";

/** Every wait for an effect: it ends a test that hangs, and judges no machine. */
const patience = { timeout: 60_000, interval: 50 } as const;

/** A fault: how it is brought about, and what must be named first. */
export interface HandshakeFault {
  readonly cause: SuspectCause;
  readonly name: string;
  /** Whether the server must sign its calls. */
  readonly needsSignatures?: true;
  /** Seeds the fault and returns the host that ticks. */
  readonly seed: (scene: FaultScene) => Promise<FaultHost>;
}

/** Opens a {@link FaultScene}, with a migrated database. */
export async function openScene(
  startServer: StartFaultServer,
  options: { readonly signed?: boolean } = {},
): Promise<FaultScene> {
  const database = await createTestDatabase();
  const server = await startServer(options);
  const closing: (() => Promise<unknown>)[] = [];
  const logged: string[] = [];
  const note = (event: string): void => void logged.push(event);
  const logger: Logger = { ...silentLogger, info: note, warn: note, error: note };
  const keys: Environment =
    options.signed === true
      ? { INNGEST_SIGNING_KEY: signingKey, INNGEST_EVENT_KEY: "right" }
      : { INNGEST_DEV: "1" };
  const variables = { CRON_SECRET: "0123456789abcdef", INNGEST_BASE_URL: server.url, ...keys };

  function open(hostName: string, { environment, appVersion }: WorkerOptions): FaultHost {
    const host = createBackground<[IncomingMessage, ServerResponse], unknown>({
      appId,
      hostName,
      environment: {
        ...variables,
        BACKGROUND_JOBS_SERVE_FUNCTIONS: "worker",
        ...environment,
      },
      pool: database.pool,
      handlers: [],
      idleTimeoutMs: 0,
      // What never comes back has failed at once: the tests wait for causes, not for time.
      handshakeTimeoutMs: 1,
      serve: (served) => serve(served),
      logger,
      ...(appVersion === undefined ? {} : { appVersion }),
    });
    closing.push(() => host.close());
    return host;
  }

  return {
    database,
    server,
    startServer,
    logged,
    openWeb: (environment) => open("web", environment === undefined ? {} : { environment }),
    openWorker: async (worker = {}) => {
      const host = open("worker", worker);
      const http = await listenOn((request, response) => {
        void host.inngest(request, response);
      }, worker.port);
      closing.push(() => closeServer(http));
      const port = portOf(http);
      host.start({ watchdog: false });
      return { host, server: http, port, serveUrl: `http://127.0.0.1:${port}/api/inngest` };
    },
    defer: (close) => void closing.push(close),
    close: async () => {
      // The server first: it must not call hosts that are gone.
      await server.close();
      for (const close of closing.toReversed()) await close();
      await database.drop();
    },
  };
}

/** Dispatches the window of some minutes ago, with its handshake though none be due: each has a key of its own. */
export async function tick(host: FaultHost, minutesAgo = 1): Promise<Receipt> {
  const scheduledAt = new Date(Date.now() - minutesAgo * 60_000);
  return host
    .parts()
    .dispatcher.dispatch({ schedule: "background-jobs", source: "operator", scheduledAt });
}

/** Ticks until a cause is named first; returns the suspects. */
export async function waitForSuspect(
  host: FaultHost,
  cause: SuspectCause,
): Promise<readonly Suspect[]> {
  let last: Receipt | undefined;
  try {
    await vi.waitUntil(async () => {
      last = await tick(host);
      return last.handshake?.suspects[0]?.cause === cause;
    }, patience);
  } catch (error) {
    throw new Error(`${cause} was not named first: ${JSON.stringify(last)}`, { cause: error });
  }
  return last?.handshake?.suspects ?? [];
}

/** Waits until the newest handshake has come back. */
export async function waitUntilOk(host: FaultHost): Promise<void> {
  await vi.waitUntil(async () => {
    const report = await host.parts().handshake.report();
    return report !== undefined && report.lastOkAt !== null && report.failingSince === null;
  }, patience);
}

/** Lets the next handshake be another second's, so that it is noted. */
async function passSecond({ database }: FaultScene): Promise<void> {
  await database.pool.query(
    `UPDATE evenkeel.background_handshake SET sent_at = sent_at - interval '2 seconds'`,
  );
}

/** A web host and a worker whose handshake has come back. */
async function openHealthy(scene: FaultScene): Promise<{ web: FaultHost; worker: OpenWorker }> {
  const web = scene.openWeb();
  const worker = await scene.openWorker();
  await scene.server.sync(worker.serveUrl);
  await tick(web, 20);
  await waitUntilOk(web);
  await vi.waitUntil(async () => {
    const { rows } = await scene.database.pool.query(
      `SELECT FROM evenkeel.background_function_run WHERE status = 'RUNNING'`,
    );
    return rows.length === 0;
  }, patience);
  await passSecond(scene);
  return { web, worker };
}

/** The ten faults, and two that are near to them. */
export const handshakeFaults: readonly HandshakeFault[] = [
  {
    cause: "signature_refused",
    name: "the host that serves has another signing key",
    needsSignatures: true,
    seed: async (scene) => {
      const { web, worker } = await openHealthy(scene);
      await closeServer(worker.server);
      await scene.openWorker({
        port: worker.port,
        appVersion: "next",
        environment: { INNGEST_SIGNING_KEY: "signkey-test-87654321" },
      });
      return web;
    },
  },
  {
    cause: "function_not_registered",
    name: "the app was never synced",
    seed: async (scene) => {
      await scene.openWorker();
      return scene.openWeb();
    },
  },
  {
    cause: "app_served_elsewhere",
    name: "a host of another product's database took the app over",
    seed: async (scene) => {
      const { web } = await openHealthy(scene);
      const other = await openOtherApp(scene, { isRecorded: false });
      await scene.server.sync(other);
      return web;
    },
  },
  {
    cause: "wrong_environment",
    name: "the event key is of another environment",
    seed: async (scene) => {
      await openHealthy(scene);
      const elsewhere = await scene.startServer();
      const proxy = await startProxy(({ url }) => ({
        origin: url.startsWith("/e/") ? elsewhere.url : scene.server.url,
      }));
      scene.defer(() => closeServer(proxy));
      scene.defer(() => elsewhere.close());
      return scene.openWeb({ INNGEST_BASE_URL: `http://127.0.0.1:${portOf(proxy)}` });
    },
  },
  {
    cause: "lane_unserved",
    name: "the host that served is gone",
    seed: async (scene) => {
      const { web, worker } = await openHealthy(scene);
      await closeServer(worker.server);
      await worker.host.close();
      await scene.database.pool.query(
        `UPDATE evenkeel.background_host SET lease_expires_at = clock_timestamp() - interval '1 second'`,
      );
      return web;
    },
  },
  {
    cause: "ledger_read_only",
    name: "Postgres takes no writes",
    seed: async (scene) => {
      const { web } = await openHealthy(scene);
      const { pool } = scene.database;
      await pool.query(
        `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$`,
      );
      await pool.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()`,
      );
      await pool.query(`SET default_transaction_read_only = on`);
      return web;
    },
  },
  {
    cause: "concurrency_full",
    name: "a maintenance run hangs",
    seed: async (scene) => {
      const { web } = await openHealthy(scene);
      const client = await scene.database.pool.connect();
      await client.query("BEGIN");
      await client.query(`LOCK TABLE evenkeel.background_dead_letter IN ACCESS EXCLUSIVE MODE`);
      scene.defer(async () => {
        await client.query("ROLLBACK");
        client.release();
      });
      // It comes back, and works on until the lock is gone.
      await tick(web, 10);
      await waitUntilOk(web);
      await passSecond(scene);
      return web;
    },
  },
  {
    cause: "clock_skew",
    name: "Inngest's clock is ten minutes behind the host's",
    needsSignatures: true,
    seed: async (scene) => {
      const web = scene.openWeb();
      const worker = await scene.openWorker();
      const proxy = await startProxy(({ headers }) => {
        const signature = String(headers["x-inngest-signature"]);
        const late = signature.replace(/t=(\d+)/u, (_, t) => `t=${Number(t) - 600}`);
        return {
          origin: `http://127.0.0.1:${worker.port}`,
          headers: { "x-inngest-signature": late },
        };
      });
      scene.defer(() => closeServer(proxy));
      await scene.server
        .sync(`http://127.0.0.1:${portOf(proxy)}/api/inngest`)
        .catch(() => undefined);
      return web;
    },
  },
  {
    cause: "egress_blocked",
    name: "nothing listens where events are sent",
    seed: async (scene) => {
      await openHealthy(scene);
      return scene.openWeb({ INNGEST_BASE_URL: `http://127.0.0.1:${await freePort()}` });
    },
  },
  {
    cause: "old_sdk",
    name: "an older build serves, which makes no mark",
    seed: async (scene) => {
      const other = await openOtherApp(scene, { isRecorded: true });
      await scene.server.sync(other);
      return scene.openWeb();
    },
  },
  {
    cause: "event_key_refused",
    name: "the event key is none of the server's",
    needsSignatures: true,
    seed: async (scene) => {
      await openHealthy(scene);
      return scene.openWeb({ INNGEST_EVENT_KEY: "wrong" });
    },
  },
  {
    cause: "calls_not_arriving",
    name: "the host lives, and its address does not answer",
    seed: async (scene) => {
      const { web, worker } = await openHealthy(scene);
      await closeServer(worker.server);
      return web;
    },
  },
];

/** Serves the app as a build without handshakes does; recorded in the ledger, or in none. Returns its address. */
async function openOtherApp(
  scene: FaultScene,
  { isRecorded }: { readonly isRecorded: boolean },
): Promise<string> {
  const { database, server } = scene;
  const ledger = createLedger({ pool: database.pool });
  const client = createBackgroundClient({
    appId,
    config: { dev: true, baseUrl: server.url },
    owner: "other-1",
    ...(isRecorded ? { ledger } : {}),
  });
  const functions = ["maintenance", "process"].map((part) =>
    client.createFunction(
      {
        id: part === "process" ? "process-background-jobs" : "background-maintenance",
        triggers: [{ event: `background/${part}.requested` }],
      },
      ({ step }) => step.run("work", () => "done"),
    ),
  );
  const handler = serve({ client, functions });
  const http = await listenOn((request, response) => {
    handler(request, response);
  });
  scene.defer(() => closeServer(http));
  scene.defer(() => ledger.close());
  return `http://127.0.0.1:${portOf(http)}/api/inngest`;
}
