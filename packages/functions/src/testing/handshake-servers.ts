import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, request as sendRequest, type RequestListener, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { createEngine } from "@evenkeel/engine";

/** An Inngest server for the handshake's faults, over HTTP. */
export interface FaultServer {
  readonly url: string;
  /** Whether it signs its calls: a development server does not. */
  readonly isSigned: boolean;
  /** Takes an app in, or another address for it. */
  sync(serveUrl: string): Promise<void>;
  close(): Promise<void>;
}

/** How a server is started; each test has its own. */
export type StartFaultServer = (options?: { readonly signed?: boolean }) => Promise<FaultServer>;

/** The key that a signed server signs with. */
export const signingKey = "signkey-test-12345678";

/** Starts the embedded engine. */
export const startEngine: StartFaultServer = async ({ signed = false } = {}) => {
  const engine = createEngine(signed ? { signingKey, eventKeys: ["right"] } : {});
  const { url } = await engine.listen();
  return {
    url,
    isSigned: true,
    sync: (serveUrl) => engine.register(serveUrl),
    close: () => engine.close(),
  };
};

/** Returns what starts the real server that `INNGEST_CLI_BIN` names; `undefined` where none is named or it does not run. */
export function findRealServer(
  environment: Readonly<Record<string, string | undefined>>,
): StartFaultServer | undefined {
  const named = environment["INNGEST_CLI_BIN"];
  if (named === undefined || named === "") return undefined;
  const command = resolve(named);
  const { status } = spawnSync(command, ["version"], { timeout: 30_000 });
  return status === 0 ? () => startRealServer(command, environment) : undefined;
}

async function startRealServer(
  command: string,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<FaultServer> {
  const ports: number[] = [];
  for (let index = 0; index < 4; index += 1) ports.push(await freePort());
  const [port = 0, gateway, gatewayGrpc, executorGrpc] = ports;
  const folder = await mkdtemp(join(tmpdir(), "handshake-"));
  const flags = {
    host: "127.0.0.1",
    port,
    tick: 10,
    "retry-interval": 1,
    "connect-gateway-port": gateway,
    "connect-gateway-grpc-port": gatewayGrpc,
    "connect-executor-grpc-port": executorGrpc,
  };
  const texts = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const child = spawn(command, ["dev", "--no-discovery", "--no-poll", ...texts], {
    cwd: folder,
    env: { ...environment, DO_NOT_TRACK: "1", HOME: folder },
    stdio: "ignore",
  });
  const url = `http://127.0.0.1:${port}`;
  for (let isUp = false; !isUp; await sleep(50)) {
    if (child.exitCode !== null) throw new Error(`${command} ended with ${child.exitCode}.`);
    isUp = await fetch(`${url}/health`).then(
      ({ ok }) => ok,
      () => false,
    );
  }
  return {
    url,
    isSigned: false,
    sync: async (serveUrl) => {
      const response = await fetch(serveUrl, { method: "PUT" });
      if (!response.ok) throw new Error(`The app did not sync: HTTP ${response.status}.`);
    },
    close: async () => {
      await stop(child);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "exit");
}

/** Listens on a port of the loopback address; 0 takes a free one. */
export async function listenOn(listener: RequestListener, port = 0): Promise<Server> {
  const server = createServer(listener);
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return server;
}

/** The port of a server that listens. */
export function portOf(server: Server): number {
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error("The server is closed.");
  return address.port;
}

/** Closes a server and cuts its connections. */
export async function closeServer(server: Server): Promise<void> {
  if (!server.listening) return;
  const closed = once(server, "close");
  server.close();
  server.closeAllConnections();
  await closed;
}

/** A port that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = await listenOn(() => {});
  const port = portOf(server);
  await closeServer(server);
  return port;
}

/** What a proxy does to a request on its way: where it goes, and with which headers. */
export type Route = (request: {
  readonly url: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}) => { readonly origin: string; readonly headers?: Record<string, string> };

/** Starts a proxy. */
export function startProxy(route: Route): Promise<Server> {
  return listenOn((request, response) => {
    const { origin, headers = {} } = route({ url: request.url ?? "/", headers: request.headers });
    const outgoing = sendRequest(
      new URL(request.url ?? "/", origin),
      { method: request.method, headers: { ...request.headers, ...headers } },
      (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      },
    );
    outgoing.on("error", () => response.writeHead(502).end());
    request.pipe(outgoing);
  });
}
