import { rmSync } from "node:fs";
import { chmod, mkdtemp, readFile, readdir, rm, statfs } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { loadEmbeddedPostgres } from "./embedded-postgres.ts";

const folderPrefix = "evenkeel-postgres-";

/** A file system in memory, where Linux has one. */
const memoryFolder = "/dev/shm";

/** What a test run's databases and their log may take of it. */
const memoryNeeded = 1024 ** 3;

/** A running embedded cluster. */
export interface PostgresCluster {
  /** Connection string of a database on this cluster, `postgres` unless named. */
  url(database?: string): string;
  /** Process id of the postmaster, for fault injection. */
  readonly pid: number;
  /** Ends the server as a crash does (immediate mode), and starts it again on the same data and port. */
  restart(): Promise<void>;
  /** Stops the cluster and removes its files. */
  stop(): Promise<void>;
}

/** Settings of {@link startPostgres}. */
export interface PostgresOptions {
  /**
   * Keep fsync and its companions on. Off makes tests fast and a crash of the machine fatal to the data, which then
   * stands in memory where the machine has 1 GB of it to spare.
   */
  readonly durable: boolean;
  /** Most concurrent connections, 300 by default. */
  readonly maxConnections?: number;
  /** Gives up the start. */
  readonly signal?: AbortSignal;
}

/**
 * Starts an embedded Postgres on a free loopback port. The host stops it; a host that exits without doing so
 * takes it along, and what a killed host leaves is removed at the next start.
 *
 * @throws Error when no port could be used after three tries, with the server's last words.
 */
export async function startPostgres(options: PostgresOptions): Promise<PostgresCluster> {
  await removeOrphans();
  const EmbeddedPostgres = await loadEmbeddedPostgres();
  let lastWords = "";
  for (let attempt = 1; ; attempt += 1) {
    const base = options.durable ? tmpdir() : await fastFolder();
    const folder = await mkdtemp(join(base, `${folderPrefix}${process.pid}-`));
    // The server drops root and must still reach its data directory.
    await chmod(folder, 0o755);
    const port = await freePort();
    const server = new EmbeddedPostgres({
      databaseDir: join(folder, "data"),
      user: "postgres",
      password: "postgres",
      port,
      persistent: false,
      createPostgresUser: process.getuid?.() === 0,
      initdbFlags: ["--encoding=UTF8", "--locale=C"],
      postgresFlags: flags(options),
      onLog: (line) => {
        lastWords = line.trim();
      },
      onError: () => {},
    });
    try {
      await server.initialise();
      await server.start();
    } catch (cause) {
      const started = await readPostmasterPid(folder);
      if (started !== undefined) await stopPostmaster(started);
      await rm(folder, { recursive: true, force: true });
      options.signal?.throwIfAborted();
      if (attempt < 3) continue;
      throw new Error(`The embedded Postgres did not start: ${lastWords}`, { cause });
    }
    let pid = await requirePid(folder);
    const takeAlong = (): void => {
      if (isAlive(pid)) process.kill(pid, "SIGQUIT");
      rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
    };
    process.once("exit", takeAlong);
    return {
      url: (database = "postgres") =>
        `postgresql://postgres:postgres@127.0.0.1:${port}/${database}`,
      get pid() {
        return pid;
      },
      restart: async () => {
        process.kill(pid, "SIGQUIT");
        while (isAlive(pid)) await sleep(20);
        await startAgain(server);
        pid = await requirePid(folder);
      },
      stop: async () => {
        await stopPostmaster(pid);
        await rm(folder, { recursive: true, force: true, maxRetries: 3 });
        process.off("exit", takeAlong);
      },
    };
  }
}

function flags({ durable, maxConnections = 300 }: PostgresOptions): string[] {
  const settings = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    `max_connections=${maxConnections}`,
    "shared_buffers=256MB",
  ];
  if (!durable) settings.push("fsync=off", "synchronous_commit=off", "full_page_writes=off");
  return settings.flatMap((setting) => ["-c", setting]);
}

async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => {
        if (address !== null && typeof address === "object") resolve(address.port);
        else reject(new Error("No free port on 127.0.0.1."));
      });
    });
  });
}

/** Test databases come and go by the hundred, and a file system on a disk is slow to make and remove their files. */
async function fastFolder(): Promise<string> {
  const { bavail, bsize } = await statfs(memoryFolder).catch(() => ({ bavail: 0, bsize: 0 }));
  const free = Math.min(bavail * bsize, process.availableMemory());
  return free < memoryNeeded ? tmpdir() : memoryFolder;
}

/** Stops and removes clusters whose owner died without stopping them. */
async function removeOrphans(): Promise<void> {
  await removeOrphansIn(tmpdir());
  await removeOrphansIn(memoryFolder);
}

async function removeOrphansIn(base: string): Promise<void> {
  for (const name of await readdir(base).catch(() => [])) {
    const owner = new RegExp(`^${folderPrefix}(\\d+)-`).exec(name)?.[1];
    if (owner === undefined || isAlive(Number(owner))) continue;
    const folder = join(base, name);
    const pid = await readPostmasterPid(folder);
    if (pid !== undefined && isAlive(pid)) process.kill(pid, "SIGKILL");
    await rm(folder, { recursive: true, force: true });
  }
}

/** A fast shutdown, and after five seconds an immediate one. A server that is gone already is fine. */
async function stopPostmaster(pid: number): Promise<void> {
  for (let waitedMs = 0; isAlive(pid); waitedMs += 20) {
    if (waitedMs === 0) process.kill(pid, "SIGINT");
    if (waitedMs === 5_000) process.kill(pid, "SIGQUIT");
    await sleep(20);
  }
}

/** The crashed server's own children may hold its memory for a moment. */
async function startAgain(server: { start(): Promise<void> }): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    const failed = await server.start().then(
      () => false,
      () => true,
    );
    if (!failed) return;
    if (attempt === 50) throw new Error("The embedded Postgres did not start again.");
    await sleep(100);
  }
}

async function requirePid(folder: string): Promise<number> {
  const pid = await readPostmasterPid(folder);
  if (pid === undefined) throw new Error("The embedded Postgres has no pid file.");
  return pid;
}

async function readPostmasterPid(folder: string): Promise<number | undefined> {
  const text = await readFile(join(folder, "data", "postmaster.pid"), "utf8").catch(() => "");
  const pid = Number.parseInt(text, 10);
  return Number.isInteger(pid) && pid > 1 ? pid : undefined;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}
