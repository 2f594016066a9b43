import { randomBytes } from "node:crypto";
import { join } from "node:path";

import { createInbox, type Inbox, type InboundMessage } from "@evenkeel/inbox";
import { readCorpus } from "@evenkeel/inbox/corpus";
import { createLedger, type Ledger } from "@evenkeel/ledger";
import { Pool } from "pg";

import { createGate, freePort, type Gate } from "../faults/gate.ts";
import { root } from "../paths.ts";
import { CronService } from "../ticks.ts";
import { haltAtWork, startChild, waitUntilUp, type Child } from "./child.ts";
import { openDatabase } from "./database.ts";
import { startInngestServer, type InngestServer } from "./inngest-server.ts";
import type { Teardown } from "./teardown.ts";

/** The length of the demo's windows, in seconds: the shortest that the configuration takes. */
const windowSeconds = 15;
const windowMs = windowSeconds * 1_000;

/** Everything that runs: Postgres, an Inngest server behind a gate, web, and workers. */
export interface System {
  readonly databaseUrl: string;
  /** Where the database is, without a password. */
  readonly databaseDescription: string;
  readonly pool: Pool;
  readonly ledger: Ledger;
  readonly inbox: Inbox;
  readonly gate: Gate;
  readonly cronSecret: string;
  readonly webUrl: string;
  readonly workerUrl: string;
  readonly cron: CronService;
  server: InngestServer;
  /** Hosts of each kind behind one address. */
  readonly webs: Child[];
  readonly workers: Child[];
  /** Kills Postgres and starts it again; absent where it is not the demo's own. */
  readonly restartPostgres?: () => Promise<void>;
  /** Kills the Inngest server, with `isAtWork` while it is at work, and starts another in its place. */
  replaceServer(isAtWork?: () => Promise<boolean>): Promise<void>;
  /** Kills a host, with `isAtWork` while it is at work, and starts another in its place. */
  replace(
    kind: "webs" | "workers",
    index: number,
    isAtWork?: () => Promise<boolean>,
  ): Promise<void>;
}

/** How many hosts a {@link System} has. */
export interface SystemSize {
  readonly webs: number;
  readonly workers: number;
}

/** Starts a {@link System}; `teardown` ends it. */
export async function startSystem(
  teardown: Teardown,
  signal: AbortSignal,
  size: SystemSize = { webs: 1, workers: 1 },
): Promise<System> {
  const database = await openDatabase(teardown, signal);
  signal.throwIfAborted();
  const pool = new Pool({ connectionString: database.url, max: 6 });
  pool.on("error", () => {});
  teardown.add("the demo's connections", () => pool.end());
  const ledger = createLedger({ pool });
  const inbox = createInbox({ pool });
  await ledger.migrate();
  await inbox.prepare();

  const inngestPort = await freePort();
  const webPorts = await freePorts(size.webs);
  const workerPorts = await freePorts(size.workers);
  const gate = await openGate(teardown, inngestPort);
  const webUrl = (await openGate(teardown, ...webPorts)).url;
  const workerUrl = (await openGate(teardown, ...workerPorts)).url;
  const cronSecret = randomBytes(24).toString("hex");
  const shared = {
    DATABASE_URL: database.url,
    INNGEST_DEV: gate.url,
    CRON_SECRET: cronSecret,
    BACKGROUND_JOBS_DISPATCH_WINDOW_SECONDS: String(windowSeconds),
    NEXT_TELEMETRY_DISABLED: "1",
    // Shortened to fit: minutes in production.
    WORKER_REPAIR_AFTER_SECONDS: "8",
    WORKER_STALE_AFTER_SECONDS: "20",
  };

  const startServer = async (): Promise<InngestServer> => {
    const server = await startInngestServer(`${workerUrl}/api/inngest`, signal, inngestPort);
    teardown.add("the Inngest server", () => server.child.stop());
    return server;
  };
  const startWorker = async (port: number): Promise<Child> => {
    const worker = startChild({
      name: "the worker",
      command: process.execPath,
      args: [join(root, "apps", "worker", "dist", "main.js")],
      cwd: join(root, "apps", "worker"),
      environment: {
        ...shared,
        HOST: "127.0.0.1",
        PORT: String(port),
        INBOX_REPLY_DELAY_SECONDS: "3",
        INBOX_SIMULATED_FAULTS: "true",
        // The cron service's clock runs ahead of the worker's.
        WORKER_WATCH_SCHEDULES: "false",
      },
    });
    teardown.add("the worker", () => worker.stop());
    await waitUntilUp(worker, `http://127.0.0.1:${port}/readyz`, signal);
    return worker;
  };
  const startWeb = async (port: number): Promise<Child> => {
    const next = join(root, "apps", "web", "node_modules", "next", "dist", "bin", "next");
    const web = startChild({
      name: "web",
      command: process.execPath,
      args: [next, "start", "--hostname=127.0.0.1", `--port=${port}`],
      cwd: join(root, "apps", "web"),
      environment: { ...shared, NODE_ENV: "production" },
    });
    teardown.add("web", () => web.stop());
    await waitUntilUp(web, `http://127.0.0.1:${port}/api/health`, signal);
    return web;
  };

  const kill = async (child: Child, isAtWork?: () => Promise<boolean>): Promise<void> => {
    if (isAtWork !== undefined) await haltAtWork(child, isAtWork, signal);
    child.kill("SIGKILL");
    await child.ended;
  };
  const server = await startServer();
  // One after the other: the first one migrates the database.
  const workers: Child[] = [];
  for (const port of workerPorts) workers.push(await startWorker(port));
  const system: System = {
    databaseUrl: database.url,
    databaseDescription: database.description,
    ...(database.restart === undefined ? {} : { restartPostgres: database.restart }),
    pool,
    ledger,
    inbox,
    gate,
    cronSecret,
    webUrl,
    workerUrl,
    // The windows lie in the past, so that one can pass every few seconds.
    cron: new CronService({
      url: `${webUrl}/api/cron/background-jobs`,
      secret: cronSecret,
      windowSeconds,
      firstWindow: new Date(Math.floor(Date.now() / windowMs) * windowMs - 2 * 60 * 60 * 1_000),
    }),
    server,
    webs: await Promise.all(webPorts.map(startWeb)),
    workers,
    replaceServer: async (isAtWork) => {
      await kill(system.server.child, isAtWork);
      system.server = await startServer();
    },
    replace: async (kind, index, isAtWork) => {
      const old = system[kind][index];
      if (old === undefined) throw new Error(`There is no ${index} among the ${kind}.`);
      await kill(old, isAtWork);
      const port = (kind === "webs" ? webPorts : workerPorts)[index] ?? 0;
      system[kind][index] = await (kind === "webs" ? startWeb : startWorker)(port);
    },
  };
  return system;
}

async function freePorts(count: number): Promise<number[]> {
  return Promise.all(Array.from({ length: count }, () => freePort()));
}

async function openGate(teardown: Teardown, ...ports: readonly number[]): Promise<Gate> {
  const gate = await createGate(...ports);
  teardown.add("a gate", () => gate.close());
  return gate;
}

/** Real e-mails in parts, each to be ingested in one transaction. */
export async function readMails(limit: number, parts: number): Promise<InboundMessage[][]> {
  const mails: InboundMessage[] = await Array.fromAsync(readCorpus({ limit }));
  const size = Math.ceil(mails.length / parts);
  return Array.from({ length: parts }, (_, part) => mails.slice(part * size, (part + 1) * size));
}
