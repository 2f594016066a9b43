import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { createInbox, type InboundMessage } from "@evenkeel/inbox";
import { readCorpus } from "@evenkeel/inbox/corpus";
import { createLedger } from "@evenkeel/ledger";
import { Pool } from "pg";

import { startChild, waitUntilUp, type Child } from "./child.ts";
import { openDatabase } from "./database.ts";
import { createGate, freePort } from "./gate.ts";
import { startInngestServer, type InngestServer } from "./inngest-server.ts";
import { root } from "./paths.ts";
import { Observer, type Observation } from "./observer.ts";
import type { Progress } from "./progress.ts";
import { CronService } from "./ticks.ts";
import type { Teardown } from "./teardown.ts";

/** What the demo has run and seen, for the checks. */
export interface DemoRun {
  readonly engine: string;
  readonly durationMs: number;
  readonly ingested: number;
  readonly cron: CronService;
  readonly observation: Observation;
  readonly outageTicksFailed: number;
  readonly workersUsed: number;
  /** Addresses of what runs, for `--keep`. */
  readonly addresses: Readonly<Record<string, string>>;
}

const windowSeconds = 15;
const tickEveryMs = 2_500;
/** Windows after whose ticks something happens. */
const script = { workerKilled: 3, memoryLost: 6, inngestGone: 9, inngestBack: 12, lastIngest: 13 };
const ingestParts = 7;
const finishWithinMs = 100_000;

/** Runs the demo: starts everything, ticks, breaks things, and waits until all work is done. */
export async function runDemo({
  mails,
  progress,
  teardown,
  signal,
}: {
  readonly mails: number;
  readonly progress: Progress;
  readonly teardown: Teardown;
  readonly signal: AbortSignal;
}): Promise<DemoRun> {
  const startedAtMs = performance.now();
  progress.say("Starting Postgres, an Inngest server, web and worker");
  const database = await openDatabase(teardown, signal);
  signal.throwIfAborted();
  const pool = new Pool({ connectionString: database.url, max: 6 });
  pool.on("error", () => {});
  teardown.add("the demo's connections", () => pool.end());
  const ledger = createLedger({ pool });
  const inbox = createInbox({ pool });
  await ledger.migrate();
  await inbox.prepare();

  const [webPort, workerPort] = [await freePort(), await freePort()];
  const workerUrl = `http://127.0.0.1:${workerPort}`;
  const inngestPort = await freePort();
  const startServer = async (): Promise<InngestServer> => {
    const started = await startInngestServer(`${workerUrl}/api/inngest`, signal, inngestPort);
    teardown.add("the Inngest server", () => started.child.stop());
    return started;
  };
  const server = await startServer();
  const gate = await createGate(inngestPort);
  teardown.add("the gate", () => gate.close());
  progress.say(`Inngest server: ${server.engine}; database: ${database.description}`);

  const cronSecret = randomBytes(24).toString("hex");
  const shared = {
    DATABASE_URL: database.url,
    INNGEST_DEV: gate.url,
    CRON_SECRET: cronSecret,
    BACKGROUND_JOBS_DISPATCH_WINDOW_SECONDS: String(windowSeconds),
    NEXT_TELEMETRY_DISABLED: "1",
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
        // Shortened to fit: minutes in production.
        WORKER_REPAIR_AFTER_SECONDS: "8",
        WORKER_STALE_AFTER_SECONDS: "20",
        INBOX_SIMULATED_FAULTS: "true",
      },
    });
    teardown.add("the worker", () => worker.stop());
    return worker;
  };
  const worker = startWorker();
  const web = startChild({
    name: "web",
    command: process.execPath,
    args: [
      join(root, "apps", "web", "node_modules", "next", "dist", "bin", "next"),
      "start",
      "--hostname=127.0.0.1",
      `--port=${webPort}`,
    ],
    cwd: join(root, "apps", "web"),
    environment: { ...shared, NODE_ENV: "production" },
  });
  teardown.add("web", () => web.stop());
  const webUrl = `http://127.0.0.1:${webPort}`;
  await waitUntilUp(worker, `${workerUrl}/readyz`, signal);
  await waitUntilUp(web, `${webUrl}/api/health`, signal);

  const parts = await readMails(mails);
  let ingested = 0;
  const ingestPart = async (): Promise<void> => {
    const part = parts.shift();
    if (part !== undefined) ingested += (await inbox.ingest(part)).stored;
  };
  await ingestPart();

  // The windows lie in the past, so that one can pass every few seconds.
  const firstWindowMs = Math.floor(Date.now() / 15_000) * 15_000 - 2 * 60 * 60 * 1_000;
  const cron = new CronService({
    url: `${webUrl}/api/cron/background-jobs`,
    secret: cronSecret,
    windowSeconds,
    firstWindow: new Date(firstWindowMs),
  });
  const observer = new Observer({ pool, ledger, inbox });
  let workersUsed = 1;
  let outageTicksFailed = 0;
  const deadlineMs = performance.now() + finishWithinMs;
  for (let window = 1; ; window += 1) {
    cron.tick();
    if (window === script.inngestGone) {
      await gate.shut();
      progress.say("The Inngest server cannot be reached");
    }
    if (window === script.inngestBack) {
      outageTicksFailed = cron.counts.failed;
      await gate.open();
      progress.say(`The Inngest server is back; ${outageTicksFailed} ticks were answered 503`);
    }
    if (window === script.workerKilled) {
      await waitUntilBusy(observer, signal);
      worker.kill("SIGKILL");
      progress.say(`The worker (pid ${worker.pid}) was killed in mid-run; another takes its place`);
      await waitUntilGone(worker, signal);
      const next = startWorker();
      workersUsed += 1;
      await waitUntilUp(next, `${workerUrl}/readyz`, signal);
    }
    if (window === script.memoryLost) {
      await ingestPart();
      await waitUntilBusy(observer, signal);
      server.child.kill("SIGKILL");
      progress.say("The Inngest server was killed and starts again with its memory lost");
      await waitUntilGone(server.child, signal);
      await startServer();
    }
    if (window <= script.lastIngest && window % 2 === 0) await ingestPart();
    const untilMs = performance.now() + tickEveryMs;
    while (performance.now() < untilMs) {
      progress.show(await observer.look(cron));
      await sleep(500, undefined, { signal });
    }
    if (window > script.lastIngest && parts.length === 0) {
      cron.flush();
      const isDone = cron.open === 0 && (await observer.isQuiet());
      if (isDone || performance.now() > deadlineMs) break;
    }
  }
  return {
    engine: server.engine,
    durationMs: Math.round(performance.now() - startedAtMs),
    ingested,
    cron,
    observation: await observer.conclude(),
    outageTicksFailed,
    workersUsed,
    addresses: {
      web: webUrl,
      worker: workerUrl,
      inngest: gate.url,
      database: database.url,
      cronSecret,
    },
  };
}

/** The e-mails in parts, each to be ingested in one transaction. */
async function readMails(limit: number): Promise<InboundMessage[][]> {
  const mails: InboundMessage[] = await Array.fromAsync(readCorpus({ limit }));
  const size = Math.ceil(mails.length / ingestParts);
  return Array.from({ length: ingestParts }, (_, part) =>
    mails.slice(part * size, (part + 1) * size),
  );
}

/** Waits until jobs run, so that a kill meets a worker at work. */
async function waitUntilBusy(observer: Observer, signal: AbortSignal): Promise<void> {
  const deadlineMs = performance.now() + 10_000;
  while (performance.now() < deadlineMs && (await observer.runningJobs()) === 0) {
    await sleep(5, undefined, { signal });
  }
}

async function waitUntilGone(child: Child, signal: AbortSignal): Promise<void> {
  while (!child.hasEnded) await sleep(20, undefined, { signal });
}
