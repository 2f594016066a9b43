import { once } from "node:events";
import type { Server } from "node:http";
import { connect } from "node:net";

import { silentLogger } from "@evenkeel/core";
import { createInbox } from "@evenkeel/inbox";
import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import { afterEach, beforeEach, expect, test } from "vitest";

import { composeBackground, type WorkerBackground } from "./background.ts";
import { readEnvironment } from "./env.ts";
import { createHttpServer } from "./http-server.ts";
import { startWorker } from "./worker.ts";

let database: TestDatabase;
let background: WorkerBackground;
let server: Server;
let port: number;
let stopping: AbortController;

beforeEach(async () => {
  database = await createTestDatabase();
  const { pool, databaseUrl } = database;
  stopping = new AbortController();
  background = composeBackground({
    environment: readEnvironment({ DATABASE_URL: databaseUrl, INNGEST_DEV: "1" }),
    logger: silentLogger,
    pool,
    inbox: createInbox({ pool }),
    stopSignal: stopping.signal,
    signal: stopping.signal,
  });
  server = createHttpServer({ background, stopSignal: stopping.signal, logger: silentLogger });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  port = typeof address === "object" ? (address?.port ?? 0) : 0;
});
afterEach(async () => {
  server.close();
  server.closeAllConnections();
  await background.close();
  await database.drop();
});

/** Sends bytes as they are, and returns what comes back until the server closes the connection. */
async function sendBytes(bytes: string): Promise<string> {
  const socket = connect({ port, host: "127.0.0.1" });
  const parts: Buffer[] = [];
  socket.on("data", (part) => parts.push(part));
  // A server that refuses what it is still being sent may reset the connection after its response.
  socket.on("error", () => {});
  socket.write(bytes, "latin1");
  await once(socket, "close");
  return Buffer.concat(parts).toString("latin1");
}

/** A request with these lines, which asks the server to close the connection. */
function request(line: string, headers: readonly string[] = ["host: worker"], body = ""): string {
  return [line, ...headers, "connection: close", "", body].join("\r\n");
}

function post(body: string, headers: readonly string[] = []): string {
  const length = `content-length: ${body.length}`;
  return request("POST /api/inngest HTTP/1.1", ["host: worker", length, ...headers], body);
}

const mebibyte = "x".repeat(1024 * 1024);

test.each<[string, string, number]>([
  ["two slashes", request("GET // HTTP/1.1"), 404],
  ["a query of slashes", request("GET /healthz?// HTTP/1.1"), 200],
  ["an absolute target", request("GET http://elsewhere/healthz HTTP/1.1"), 200],
  ["an absolute target that is no URL", request("GET http://[ HTTP/1.1"), 400],
  ["an asterisk", request("OPTIONS * HTTP/1.1"), 400],
  ["a target without a path", request("GET ?x HTTP/1.1"), 400],
  ["half a percent-encoded character", request("GET /%E0%A4%A HTTP/1.1"), 404],
  ["a host that is none", request("GET /healthz HTTP/1.1", ["host: a b"]), 400],
  ["no host", request("GET /healthz HTTP/1.1", []), 400],
  ["HTTP/1.0, which has no host", request("GET /healthz HTTP/1.0", []), 200],
  ["a method that is none", request("BREW /healthz HTTP/1.1"), 400],
  ["no protocol", "\x16\x03\x01\x02\r\n\r\n", 400],
  ["a body that is no JSON", post("{"), 400],
  ["a body of zero bytes", post("\0\0\0"), 400],
  [
    "two lengths",
    request("POST /api/inngest HTTP/1.1", ["host: a", "content-length: 1", "content-length: 2"]),
    400,
  ],
  [
    "a length and chunks",
    request("POST /healthz HTTP/1.1", [
      "host: a",
      "content-length: 3",
      "transfer-encoding: chunked",
    ]),
    400,
  ],
  [
    "headers over the limit",
    request("GET /healthz HTTP/1.1", ["host: a", `x: ${"x".repeat(20_000)}`]),
    431,
  ],
  [
    "a length over the limit",
    request("POST /api/inngest HTTP/1.1", ["host: a", "content-length: 99999999999"]),
    413,
  ],
  [
    "chunks over the limit",
    request(
      "PUT /api/inngest HTTP/1.1",
      ["host: a", "transfer-encoding: chunked"],
      `${`100000\r\n${mebibyte}\r\n`.repeat(41)}0\r\n\r\n`,
    ),
    413,
  ],
])("%s ends nothing but its own request", async (_case, bytes, status) => {
  expect(await sendBytes(bytes)).toMatch(new RegExp(`^HTTP/1.1 ${status} `, "u"));
  expect(await sendBytes(request("GET /readyz HTTP/1.1"))).toMatch(
    /^HTTP\/1.1 200 .*\{"ok":true,"handshake":null\}/su,
  );
});

test.each(["null", "[]", "0", `"text"`, `{"ctx":null}`, `{"event":{},"steps":[],"ctx":{}}`])(
  "a call with the body %s gets a response",
  async (body) => {
    expect(await sendBytes(post(body))).toMatch(/^HTTP\/1.1 [45]\d\d /u);
    expect(await sendBytes(request("GET /healthz HTTP/1.1"))).toMatch(/^HTTP\/1.1 200 /u);
  },
);

test.each([
  "GET / HTTP/1.1\r\nhost:",
  "POST /api/inngest HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{",
])("a client that leaves in the middle of %j ends nothing", async (bytes) => {
  const accepted = once(server, "connection");
  const socket = connect({ port, host: "127.0.0.1" });
  socket.write(bytes);
  const [incoming] = (await accepted) as [NodeJS.EventEmitter];
  // `once` of events would reject with the reset that is meant.
  const left = new Promise((resolve) => incoming.once("close", resolve));
  socket.resetAndDestroy();
  await left;
  expect(await sendBytes(request("GET /healthz HTTP/1.1"))).toMatch(/^HTTP\/1.1 200 /u);
});

test("behind a proxy that ends TLS the app registers under https", async () => {
  const headers = ["host: jobs.example", "x-forwarded-proto: https", "content-length: 0"];
  const registered: string[] = [];
  const original = globalThis.fetch;
  globalThis.fetch = async (input, init) => {
    registered.push(await new Request(input, init).text());
    return Response.json({ ok: true, modified: true });
  };
  try {
    await sendBytes(request("PUT /api/inngest HTTP/1.1", headers));
  } finally {
    globalThis.fetch = original;
  }
  expect(registered.join("\n")).toContain(`"https://jobs.example/api/inngest`);
});

test("while it stops, the server takes no calls and is not ready", async () => {
  stopping.abort();
  expect(await sendBytes(request("PUT /api/inngest HTTP/1.1"))).toMatch(/^HTTP\/1.1 503 /u);
  expect(await sendBytes(request("GET /readyz HTTP/1.1"))).toMatch(/^HTTP\/1.1 503 /u);
  expect(await sendBytes(request("GET /healthz HTTP/1.1"))).toMatch(/^HTTP\/1.1 200 /u);
});

test("a client that never ends its request does not hold a worker that stops", async () => {
  const environment = readEnvironment({
    DATABASE_URL: database.databaseUrl,
    INNGEST_DEV: "1",
    HOST: "127.0.0.1",
    PORT: "0",
    WORKER_DRAIN_SECONDS: "0",
    WORKER_WATCH_SCHEDULES: "false",
  });
  const worker = await startWorker({
    environment,
    logger: silentLogger,
    releaseMs: 0,
  });
  const socket = connect({ port: Number(new URL(worker.url).port), host: "127.0.0.1" });
  socket.on("error", () => {});
  const ended = once(socket, "close");
  // The first request's response says that the server has read so far.
  socket.write(
    "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\nPOST /api/inngest HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{",
  );
  await once(socket, "data");
  await worker.stop();
  expect(await ended).toEqual([expect.any(Boolean)]);
});
