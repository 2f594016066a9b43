import { createServer, type Socket } from "node:net";
import { join } from "node:path";

import { startPostgres } from "@evenkeel/test-postgres";
import { Client } from "pg";

import { freePort } from "./faults/gate.ts";
import { listenForTheEnd } from "./interruption.ts";
import { root } from "./paths.ts";
import { createProgress, type Progress } from "./progress.ts";
import { buildEverything } from "./system/build.ts";
import { startChild, type Child } from "./system/child.ts";
import { Teardown } from "./system/teardown.ts";

/*
 * Starts the built Next app on databases that it cannot use: none that answers, one that is silent, one whose schema is
 * beyond the build, and one of another environment. The app's own pages have to be served each time, as ticks and health
 * tell the cause; and on an empty database it has to migrate by itself.
 *
 *   pnpm test:web-start [--built]
 */
const cronSecret = "0123456789abcdef";

interface Case {
  readonly name: string;
  readonly databaseUrl: string;
  readonly environment?: Record<string, string>;
  /** The mode and status of a tick, and what health responds with. */
  readonly tick: readonly [mode: string, status: number];
  readonly health: { readonly ok: boolean; readonly reason?: string };
}

async function run(teardown: Teardown, progress: Progress, signal: AbortSignal): Promise<boolean> {
  if (!process.argv.includes("--built")) {
    progress.say("Building");
    await buildEverything(teardown, signal);
  }
  const { createLedger } = await import("@evenkeel/ledger");
  const { createEngine } = await import("@evenkeel/engine");
  const cluster = await startPostgres({ durable: false, signal });
  teardown.add("Postgres", () => cluster.stop());
  const engine = createEngine();
  teardown.add("the engine", () => engine.close());
  const { url: engineUrl } = await engine.listen();
  const create = async (name: string, sql?: string): Promise<string> => {
    await query(cluster.url(), `CREATE DATABASE ${name}`);
    const databaseUrl = cluster.url(name);
    if (sql === undefined) return databaseUrl;
    const ledger = createLedger({ databaseUrl, environment: "production" });
    await ledger.migrate();
    await ledger.close();
    await query(databaseUrl, sql);
    return databaseUrl;
  };
  const silentPort = await listenInSilence(teardown);
  const cases: Case[] = [
    {
      name: "no Postgres",
      databaseUrl: "postgresql://u:hunter2@127.0.0.1:1/none",
      tick: ["dispatch-only", 202],
      health: { ok: false, reason: "unreachable" },
    },
    {
      name: "a Postgres that is silent",
      databaseUrl: `postgresql://u:hunter2@127.0.0.1:${silentPort}/none`,
      tick: ["dispatch-only", 202],
      health: { ok: false, reason: "unreachable" },
    },
    {
      name: "a schema beyond the build",
      databaseUrl: await create(
        "beyond",
        `INSERT INTO evenkeel.background_schema_mark (migration, min_reader) VALUES ('2999_x', '2999_x')`,
      ),
      tick: ["ledger-not-ready", 503],
      health: { ok: false, reason: "newer_database" },
    },
    {
      name: "another environment's ledger",
      databaseUrl: await create("elsewhere", "SELECT 1"),
      environment: { INNGEST_ENV: "staging" },
      tick: ["ledger-not-ready", 503],
      health: { ok: false, reason: "wrong_environment" },
    },
    {
      name: "an empty database, with MIGRATE=off",
      databaseUrl: await create("untouched"),
      environment: { MIGRATE: "off" },
      tick: ["ledger-not-ready", 503],
      health: { ok: false, reason: "not_migrated" },
    },
    {
      name: "an empty database",
      databaseUrl: await create("empty"),
      tick: ["dispatch-only", 202],
      health: { ok: true },
    },
  ];
  let failures = 0;
  for (const each of cases) {
    signal.throwIfAborted();
    const problems = await check(each, engineUrl, teardown);
    progress.say(`${problems.length === 0 ? "ok    " : "FAILED"}  ${each.name}`);
    for (const problem of problems) process.stderr.write(`        ${problem}\n`);
    failures += problems.length;
  }
  return failures === 0;
}

/** Starts the app for one case, and returns what was not as it has to be. */
async function check(each: Case, engineUrl: string, teardown: Teardown): Promise<string[]> {
  const port = await freePort();
  const next = join(root, "apps", "web", "node_modules", "next", "dist", "bin", "next");
  const web = startChild({
    name: "web",
    command: process.execPath,
    args: [next, "start", "--hostname=127.0.0.1", `--port=${port}`],
    cwd: join(root, "apps", "web"),
    environment: {
      DATABASE_URL: each.databaseUrl,
      INNGEST_DEV: engineUrl,
      CRON_SECRET: cronSecret,
      NEXT_TELEMETRY_DISABLED: "1",
      NODE_ENV: "production",
      ...each.environment,
    },
  });
  teardown.add("web", () => web.stop());
  const at = `http://127.0.0.1:${port}`;
  // The app has no page but Next's own for what it does not know: whoever is served that one is served.
  const page = await firstResponse(web, `${at}/pricing`);
  const authorization = `Bearer ${cronSecret}`;
  const tick = await fetch(`${at}/api/cron/background-jobs`, { headers: { authorization } });
  const receipt: unknown = await tick.json();
  const health: unknown = await fetch(`${at}/api/health`).then((response) => response.json());
  const again = await fetch(`${at}/pricing`);
  await web.stop();
  const mode: unknown =
    typeof receipt === "object" && receipt !== null && Reflect.get(receipt, "mode");
  const found = { page: page.status, again: again.status, tick: [mode, tick.status], health };
  const wanted = { page: 404, again: 404, tick: each.tick, health: each.health };
  const [isAs, hasToBe] = [JSON.stringify(found), JSON.stringify(wanted)];
  return isAs === hasToBe ? [] : [`is        ${isAs}`, `has to be ${hasToBe}`, web.lastLines()];
}

/** Asks until the app responds at all. @throws Error when it ends before. */
async function firstResponse(web: Child, url: string): Promise<Response> {
  for (;;) {
    const response = await fetch(url).catch(() => undefined);
    if (response !== undefined) return response;
    if (web.hasEnded) throw new Error(`The web host ended:\n${web.lastLines()}`);
    await new Promise((resolve) => {
      setTimeout(resolve, 100);
    });
  }
}

/** Accepts connections and never says a word. */
async function listenInSilence(teardown: Teardown): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  teardown.add("the silent server", async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = server.address();
  return typeof address === "object" ? (address?.port ?? 0) : 0;
}

async function query(databaseUrl: string, sql: string): Promise<void> {
  const client = new Client({ connectionString: databaseUrl });
  await client.connect();
  await client.query(sql);
  await client.end();
}

const signal = listenForTheEnd();
const teardown = new Teardown();
try {
  process.exitCode = (await run(teardown, createProgress(process.stderr), signal)) ? 0 : 1;
} catch (error) {
  process.stderr.write(`${signal.aborted ? "Stopped." : String(error)}\n`);
  process.exitCode = signal.aborted ? 130 : 1;
} finally {
  await teardown.run();
  process.exit();
}
