import { type RequestListener, type Server, createServer } from "node:http";

import { afterEach, describe, expect, it } from "vitest";

import { createHttpTransport } from "./http-transport.ts";

const open: Server[] = [];
afterEach(async () => {
  const closing = open.splice(0).map(
    (server) =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  );
  await Promise.all(closing);
});

async function setup(app: RequestListener, timeoutMs = 60_000) {
  const server = createServer(app);
  open.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const send = (path: string) =>
    createHttpTransport().send({
      method: "POST",
      url: `http://127.0.0.1:${port}${path}`,
      headers: { "content-type": "application/json" },
      body: '{"a":"ä"}',
      timeoutMs,
    });
  return { send, server };
}

describe("HTTP transport", () => {
  it("sends a body on a connection of its own and reads the answer to its end", async () => {
    const seen: unknown[] = [];
    const { send } = await setup((request, response) => {
      let body = "";
      request.on("data", (chunk: Buffer) => (body += chunk.toString()));
      request.on("end", () => {
        seen.push(request.method, request.headers.connection, body);
        response.writeHead(206, { "x-inngest-sdk": "js" });
        response.write("[");
        response.end("]");
      });
    });
    const response = await send("/api");
    expect(response).toMatchObject({ status: 206, body: "[]" });
    expect(response.headers.get("x-inngest-sdk")).toBe("js");
    expect(seen).toEqual(["POST", "close", '{"a":"ä"}']);
  });

  it("follows redirects and keeps the ids in the query", async () => {
    const { send } = await setup((request, response) => {
      if (request.url?.startsWith("/old") === true) {
        response.writeHead(308, { location: "/new/" }).end();
      } else {
        response.end(`${request.method} ${request.url}`);
      }
    });
    expect((await send("/old?fnId=f&stepId=s")).body).toBe("POST /new/?fnId=f&stepId=s");
  });

  it("gives up where redirects never end", async () => {
    const { send } = await setup((_request, response) => {
      response.writeHead(307, { location: "/again" }).end();
    });
    await expect(send("/")).rejects.toThrow(/stopped after 60 redirects/);
  });

  it("says so when an app ends the connection without an answer", async () => {
    const { send } = await setup((request) => void request.socket.destroy());
    await expect(send("/")).rejects.toThrow(/Unable to reach SDK URL/);
  });

  it("says so when an answer breaks off", async () => {
    const { send } = await setup((_request, response) => {
      response.writeHead(200, { "content-length": "100" });
      response.write("half", () => response.destroy());
    });
    await expect(send("/")).rejects.toThrow(/while we were reading the reply/);
  });

  it("says so when nobody listens", async () => {
    const { send, server } = await setup(() => {});
    await new Promise<void>((resolve) => server.close(() => resolve()));
    await expect(send("/")).rejects.toThrow(/Unable to reach SDK URL/);
  });

  it("gives up on a request when its time is over", async () => {
    const { send } = await setup(() => {}, 20);
    await expect(send("/")).rejects.toThrow(/context deadline exceeded/);
  });
});
