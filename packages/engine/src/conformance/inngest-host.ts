import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { createAppServer } from "./app-server.ts";
import { type ConformanceHost, ConformanceTimeoutError, type HostOptions } from "./host.ts";

/** A command that starts a real Inngest server, and the version it names. */
export interface InngestServerBinary {
  readonly command: string;
  readonly version: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Finds a real server: `INNGEST_CLI_BIN`, then a working `inngest-cli` or `inngest`; `undefined` if none. */
export function findInngestServer(environment: Environment): InngestServerBinary | undefined {
  const named = environment["INNGEST_CLI_BIN"];
  const isNamed = named !== undefined && named !== "";
  for (const command of isNamed ? [resolve(named)] : ["inngest-cli", "inngest"]) {
    const asked = spawnSync(command, ["version"], { encoding: "utf8", timeout: 30_000 });
    if (asked.status === 0) return { command, version: asked.stdout.trim() };
  }
  return undefined;
}

async function findFreePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (typeof address !== "object" || address === null) throw new Error("there is no free port");
  return address.port;
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGTERM");
  const killing = setTimeout(() => child.kill("SIGKILL"), 10_000);
  await once(child, "exit");
  clearTimeout(killing);
}

/** Starts a real Inngest development server on the loopback address. */
export async function startInngestHost(
  binary: InngestServerBinary,
  environment: Environment,
  { retryMs }: HostOptions = {},
): Promise<ConformanceHost> {
  const ports: number[] = [];
  for (let index = 0; index < 4; index += 1) ports.push(await findFreePort());
  const directory = mkdtempSync(join(tmpdir(), "engine-conformance-"));
  const [port, gateway, gatewayGrpc, executorGrpc] = ports.map(String);
  const options = {
    host: "127.0.0.1",
    port,
    "connect-gateway-port": gateway,
    "connect-gateway-grpc-port": gatewayGrpc,
    "connect-executor-grpc-port": executorGrpc,
    tick: "10",
    "queue-workers": "500",
    ...(retryMs === undefined ? {} : { "retry-interval": String(retryMs / 1_000) }),
  };
  const flags = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const child = spawn(binary.command, ["dev", "--no-discovery", "--no-poll", ...flags], {
    cwd: directory,
    env: { ...environment, DO_NOT_TRACK: "1", HOME: directory },
    stdio: "ignore",
  });
  const apps = await createAppServer();
  const baseUrl = `http://127.0.0.1:${port}`;

  const host: ConformanceHost = {
    name: `inngest ${binary.version}`,
    baseUrl,
    fetch,
    async serve(appId, handler) {
      const response = await fetch(apps.add(appId, handler), { method: "PUT" });
      if (!response.ok) throw new Error(`the app did not sync: ${await response.text()}`);
    },
    now: () => Date.now(),
    async pass(ms) {
      await sleep(ms);
    },
    async until(check, withinMs) {
      // A busy machine shows what happened late; what must not happen is asked after `pass`.
      const deadlineMs = Date.now() + withinMs + 60_000;
      for (;;) {
        const found = await check();
        if (found !== undefined) return found;
        if (Date.now() >= deadlineMs) {
          throw new ConformanceTimeoutError(`nothing within ${withinMs} ms`);
        }
        await sleep(50);
      }
    },
    async work() {
      await sleep(300);
    },
    async close() {
      await apps.close();
      await stop(child);
      rmSync(directory, { recursive: true, force: true });
    },
  };
  await host.until(async () => {
    if (child.exitCode !== null) throw new Error(`${binary.command} exited with ${child.exitCode}`);
    const response = await fetch(`${baseUrl}/health`).catch(() => undefined);
    return response?.ok === true ? true : undefined;
  }, 60_000);
  return host;
}
