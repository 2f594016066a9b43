import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";

import type { Handler } from "../transport/transport.ts";

/** Serves apps over HTTP, each under its own path. */
export interface AppServer {
  /** Serves the app's endpoint. */
  add(appId: string, handler: Handler): string;
  close(): Promise<void>;
}

/** Creates an {@link AppServer} on a free port of the loopback address. */
export async function createAppServer(): Promise<AppServer> {
  const handlers = new Map<string, Handler>();

  async function serveRequest(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(message.url ?? "/", `http://${message.headers.host ?? "localhost"}`);
    const handler = handlers.get(url.pathname.split("/")[1] ?? "");
    const chunks: Buffer[] = [];
    for await (const chunk of message as AsyncIterable<Buffer>) chunks.push(chunk);
    if (handler === undefined) {
      response.writeHead(404).end();
      return;
    }
    const headers = new Headers();
    for (const [name, value] of Object.entries(message.headers)) headers.set(name, String(value));
    const result = await handler(
      new Request(url, {
        method: message.method ?? "GET",
        headers,
        ...(chunks.length === 0 ? {} : { body: new Uint8Array(Buffer.concat(chunks)) }),
      }),
    );
    response.writeHead(result.status, Object.fromEntries(result.headers));
    response.end(Buffer.from(await result.arrayBuffer()));
  }

  const server: Server = createServer((message, response) => {
    serveRequest(message, response).catch(() => message.socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error("the app has no port");
  return {
    add(appId, handler) {
      handlers.set(appId, handler);
      return `http://127.0.0.1:${address.port}/${appId}/api/inngest`;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
