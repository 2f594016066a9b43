import { randomBytes } from "node:crypto";
import { join } from "node:path";

import { createInbox, type Inbox, type InboundMessage } from "@evenkeel/inbox";
import { readCorpus } from "@evenkeel/inbox/corpus";
import { createLedger, type Ledger } from "@evenkeel/ledger";
import { Pool } from "pg";

import { haltAtWork, startChild, waitUntilUp, type Child } from "./child.ts";
import { openDatabase } from "./database.ts";
import { createGate, freePort, type Gate } from "./gate.ts";
import { startInngestServer, type InngestServer } from "./inngest-server.ts";
import { root } from "./paths.ts";
import { CronService } from "./ticks.ts";
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
  web: Child;
  worker: Child;
  /** Kills a process, with `isAtWork` while it is at work, and starts another in its place. */
  replace(part: "server" | "web" | "worker", isAtWork?: () => Promise<boolean>): Promise<void>;
}

/** Starts a {@link System}; `teardown` ends it. */
export async function startSystem(teardown: Teardown, signal: AbortSignal): Promise<System> {
  const database = await openDatabase(teardown, signal);
  signal.throwIfAborted();
  const pool = new Pool({ connectionString: database.url, max: 6 });
  pool.on("error", () => {});
  teardown.add("the demo's connections", () => pool.end());
  const ledger = createLedger({ pool });
  const inbox = createInbox({ pool });
  await ledger.migrate();
  await inbox.prepare();

  const [webPort, workerPort, inngestPort] = [await freePort(), await freePort(), await freePort()];
  const webUrl = `http://127.0.0.1:${webPort}`;
  const workerUrl = `http://127.0.0.1:${workerPort}`;
  const gate = await createGate(inngestPort);
  teardown.add("the gate", () => gate.close());
  const cronSecret = randomBytes(24).toString("hex");
  const shared = {
    DATABASE_URL: database.url,
    INNGEST_DEV: gate.url,
    CRON_SECRET: cronSecret,
    BACKGROUND_JOBS_DISPATCH_WINDOW_SECONDS: String(windowSeconds),
    NEXT_TELEMETRY_DISABLED: "1",
  };

  const startServer = async (): Promise<InngestServer> => {
    const server = await startInngestServer(`${workerUrl}/api/inngest`, signal, inngestPort);
    teardown.add("the Inngest server", () => server.child.stop());
    return server;
  };
  const startWorker = (): Child => {
    const worker = startChild({
      name: "the worker",
      command: process.execPath,
      args: [join(root, "apps", "worker", "dist", "main.js")],
      cwd: join(root, "apps", "worker"),
      environment: {
        ...shared,
        HOST: "127.0.0.1",
        PORT: String(workerPort),
        INBOX_REPLY_DELAY_SECONDS: "3",
        INBOX_SIMULATED_FAULTS: "true",
        // Shortened to fit: minutes in production.
        WORKER_REPAIR_AFTER_SECONDS: "8",
        WORKER_STALE_AFTER_SECONDS: "20",
      },
    });
    teardown.add("the worker", () => worker.stop());
    return worker;
  };
  const startWeb = (): Child => {
    const next = join(root, "apps", "web", "node_modules", "next", "dist", "bin", "next");
    const web = startChild({
      name: "web",
      command: process.execPath,
      args: [next, "start", "--hostname=127.0.0.1", `--port=${webPort}`],
      cwd: join(root, "apps", "web"),
      environment: { ...shared, NODE_ENV: "production" },
    });
    teardown.add("web", () => web.stop());
    return web;
  };

  const server = await startServer();
  const system: System = {
    databaseUrl: database.url,
    databaseDescription: database.description,
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
    web: startWeb(),
    worker: startWorker(),
    replace: async (part, isAtWork) => {
      const old = part === "server" ? system.server.child : system[part];
      if (isAtWork !== undefined) await haltAtWork(old, isAtWork, signal);
      old.kill("SIGKILL");
      await old.ended;
      if (part === "server") system.server = await startServer();
      else if (part === "worker") await waitForWorker((system.worker = startWorker()));
      else await waitForWeb((system.web = startWeb()));
    },
  };
  const waitForWorker = (worker: Child): Promise<void> =>
    waitUntilUp(worker, `${workerUrl}/readyz`, signal);
  const waitForWeb = (web: Child): Promise<void> =>
    waitUntilUp(web, `${webUrl}/api/health`, signal);
  await waitForWorker(system.worker);
  await waitForWeb(system.web);
  return system;
}

/** Real e-mails in parts, each to be ingested in one transaction. */
export async function readMails(limit: number, parts: number): Promise<InboundMessage[][]> {
  const mails: InboundMessage[] = await Array.fromAsync(readCorpus({ limit }));
  const size = Math.ceil(mails.length / parts);
  return Array.from({ length: parts }, (_, part) => mails.slice(part * size, (part + 1) * size));
}
