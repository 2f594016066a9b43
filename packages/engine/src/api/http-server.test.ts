import { once } from "node:events";
import { connect } from "node:net";

import { afterEach, describe, expect, it } from "vitest";

import type { EngineOptions } from "../engine-options.ts";
import { createEngine } from "../engine.ts";
import { createSdkApp } from "../testing/sdk-app.ts";
import { realClock } from "../time/clock.ts";

const open: (() => Promise<void>)[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((close) => close()));
});

async function setup(options: EngineOptions = {}) {
  const engine = createEngine(options);
  const { url, port } = await engine.listen();
  open.push(() => engine.close());
  return { engine, url, port };
}

/** Sends bytes as they are, and returns the status of the response; 0 where the connection ends without one. */
async function sendRaw(port: number, text: string): Promise<number> {
  const socket = connect(port, "127.0.0.1");
  let answer = "";
  socket.on("data", (chunk: Buffer) => (answer += chunk.toString("latin1")));
  socket.on("error", () => {});
  socket.end(Buffer.from(text, "latin1"));
  await once(socket, "close");
  return Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1] ?? 0);
}

const event = JSON.stringify({ name: "a", data: {} });
const post = (headers: Record<string, string>, path = "/e/key") =>
  [
    `POST ${path} HTTP/1.1`,
    ...Object.entries({
      host: "127.0.0.1",
      "content-type": "text/plain",
      "content-length": String(event.length),
      connection: "close",
      ...headers,
    }).map(([name, value]) => `${name}: ${value}`),
    "",
    event,
  ].join("\r\n");

describe("who may talk to the engine", () => {
  it.each([
    {},
    { host: "localhost:8288" },
    { host: "LOCALHOST" },
    { host: "app.localhost" },
    { host: "127.0.0.1:65535" },
    { host: "127.8.9.10" },
    { host: "[::1]:8288" },
    { host: "192.168.1.7:8288" },
    { host: "engine.test:8288" },
    { origin: "http://localhost:3000" },
    { origin: "https://localhost" },
    { origin: "http://[::1]:3000" },
    { origin: "http://app.localhost:3000" },
    { origin: "http://engine.test" },
    { host: "192.168.1.7:8288", origin: "http://192.168.1.7:8288" },
  ])("answers %j", async (headers) => {
    const { engine, port } = await setup({ allowedHosts: ["engine.test"] });
    expect(await sendRaw(port, post(headers))).toBe(200);
    expect(engine.events()).toHaveLength(1);
  });

  it.each([
    { origin: "https://evil.example" },
    { origin: "http://localhost.evil.example" },
    { origin: "http://notlocalhost:3000" },
    { origin: "http://127.0.0.1.evil.example" },
    { origin: "http://192.168.1.7" },
    { origin: "null" },
    { origin: "file://" },
    { origin: "chrome-extension://abcdefgh" },
    { host: "evil.example" },
    { host: "evil.example:8288" },
    { host: "localhost.evil.example" },
    { host: "engine.test.evil.example" },
    { host: "evil.example", origin: "http://evil.example" },
    { host: "localhost", origin: "http://evil.example" },
  ])("refuses %j with 403", async (headers) => {
    const { engine, port } = await setup({ allowedHosts: ["engine.test"] });
    expect(await sendRaw(port, post(headers))).toBe(403);
    expect(engine.events()).toEqual([]);
  });

  it.each([
    { host: "" },
    { host: "a b" },
    { host: "localhost/x" },
    { host: "user@localhost" },
    { host: "localhost:port" },
    { host: "localhost:99999" },
    { host: "[::1" },
    { host: "loc\u00ff\u00felhost" },
    { host: "localhost\\evil" },
    { host: "localhost?x" },
    { origin: "" },
    { origin: "localhost" },
    { origin: "http://" },
    { origin: "http://localhost:port" },
    { origin: "http://localhost/path" },
    { origin: "http://a b" },
    { origin: "http://localhost, http://evil.example" },
  ])("refuses %j with 400", async (headers) => {
    const { engine, port } = await setup();
    expect(await sendRaw(port, post(headers))).toBe(400);
    expect(engine.events()).toEqual([]);
  });

  it("names what would let a refused host in", async () => {
    const { url } = await setup();
    const response = await fetch(`${url}/health`, { headers: { origin: "http://shop.example" } });
    expect(await response.json()).toMatchObject({
      status: 403,
      error: expect.stringContaining("--allow-host shop.example"),
    });
  });
});

describe("odd requests", () => {
  it.each([
    ["GET // HTTP/1.1", 404],
    ["GET //evil.example/health HTTP/1.1", 404],
    ["GET /\\evil HTTP/1.1", 404],
    ["GET /health?%zz HTTP/1.1", 200],
    ["GET /dev/explain/%zz HTTP/1.1", 400],
    ["POST /invoke/%ff HTTP/1.1", 400],
    ["GET /v1/events/%00 HTTP/1.1", 400],
    ["OPTIONS * HTTP/1.1", 404],
    ["TRACE /health HTTP/1.1", 404],
    ["GET http://localhost/health HTTP/1.1", 200],
    ["GET http://evil.example/health HTTP/1.1", 403],
    ["GET http:///health HTTP/1.1", 400],
    ["GET http://[/health HTTP/1.1", 400],
    ["NONSENSE", 400],
  ])("answers %j", async (line, status) => {
    const { port } = await setup();
    expect(await sendRaw(port, `${line}\r\nhost: localhost\r\nconnection: close\r\n\r\n`)).toBe(
      status,
    );
  });

  it.each([
    ["application/x-www-form-urlencoded", "%zz=%zz"],
    ["multipart/form-data", "--x\r\n\r\n"],
    ["multipart/form-data; boundary=x", "no part"],
    ["\u00ff", "\u00ff"],
  ])("answers 400 or less to a body of %j", async (type, body) => {
    const { port } = await setup();
    const status = await sendRaw(
      port,
      `POST /e/key HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: ${type}\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    expect(status).toBeLessThanOrEqual(400);
    expect(status).toBeGreaterThan(0);
  });
});

it("starts no run before the event API has answered", async () => {
  const order: string[] = [];
  const { engine } = createSdkApp(
    (inngest) => [
      inngest.createFunction({ id: "f", triggers: [{ event: "a" }] }, () => void order.push("run")),
    ],
    { clock: realClock() },
  );
  open.push(() => engine.close());
  const { url } = await engine.listen();
  for (let turn = 0; turn < 20; turn += 1) {
    order.length = 0;
    await fetch(`${url}/e/key`, { method: "POST", body: event });
    order.push("answer");
    await engine.settled();
    expect(order).toEqual(["answer", "run"]);
  }
});
