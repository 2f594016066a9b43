import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** A running pooler. */
export interface Pgbouncer {
  /** The given connection string, by way of the pooler. */
  url(databaseUrl: string): string;
  stop(): Promise<void>;
}

/** Whether pgbouncer is installed. */
export function hasPgbouncer(): boolean {
  return spawnSync("pgbouncer", ["--version"]).status === 0;
}

/** Starts pgbouncer in transaction mode before a Postgres on this machine. @throws Error when it ends at once. */
export async function startPgbouncer(databaseUrl: string): Promise<Pgbouncer> {
  const target = new URL(databaseUrl);
  const port = await freePort();
  const folder = await mkdtemp(join(tmpdir(), "evenkeel-pgbouncer-"));
  const isRoot = process.getuid?.() === 0;
  const settings = [
    "[databases]",
    `* = host=${target.hostname} port=${target.port} user=${target.username} password=${target.password}`,
    "[pgbouncer]",
    "listen_addr = 127.0.0.1",
    `listen_port = ${port}`,
    "unix_socket_dir =",
    "auth_type = any",
    "pool_mode = transaction",
    "max_client_conn = 2000",
    "default_pool_size = 20",
    // It refuses to run as root.
    ...(isRoot ? ["user = nobody"] : []),
  ];
  const file = join(folder, "pgbouncer.ini");
  await writeFile(file, `${settings.join("\n")}\n`);
  await chmod(folder, 0o755);
  const child = spawn("pgbouncer", ["-q", file], { stdio: ["ignore", "ignore", "pipe"] });
  const takeAlong = (): void => void child.kill("SIGKILL");
  process.once("exit", takeAlong);
  let lastWords = "";
  child.stderr.on("data", (chunk: Buffer) => {
    lastWords = chunk.toString("utf8").trim();
  });
  while (!(await isListening(port))) {
    if (child.exitCode !== null) throw new Error(`pgbouncer did not start: ${lastWords}`);
    await sleep(20);
  }
  return {
    url: (given) => {
      const url = new URL(given);
      url.port = String(port);
      return url.href;
    },
    stop: async () => {
      const ended = once(child, "exit");
      child.kill("SIGTERM");
      await ended;
      process.off("exit", takeAlong);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function isListening(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  const answer = await Promise.race([
    once(socket, "connect").then(() => true),
    once(socket, "error").then(() => false),
  ]).catch(() => false);
  socket.destroy();
  return answer;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" ? (address?.port ?? 0) : 0;
}
