import { type IncomingMessage, type ServerResponse, createServer } from "node:http";

import type { Router } from "./router.ts";

/** A listening HTTP server. */
export interface HttpServer {
  readonly port: number;
  readonly host: string;
  close(): Promise<void>;
}

/** Requests larger than this get a 413: no event, batch or step comes near it. */
const maxRequestBytes = 64 * 1024 * 1024;

async function readBody(message: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of message as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxRequestBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function serve(
  message: IncomingMessage,
  outgoing: ServerResponse,
  router: Router,
): Promise<void> {
  const body = await readBody(message);
  if (body === undefined) {
    outgoing.writeHead(413, { connection: "close" }).end();
    return;
  }
  const headers = new Headers();
  for (const [name, value] of Object.entries(message.headers)) {
    if (value !== undefined) headers.set(name, Array.isArray(value) ? value.join(", ") : value);
  }
  const method = message.method ?? "GET";
  const hasBody = method !== "GET" && method !== "HEAD";
  const response = await router(
    new Request(`http://${headers.get("host") ?? "localhost"}${message.url ?? "/"}`, {
      method,
      headers,
      ...(hasBody ? { body: new Uint8Array(body) } : {}),
    }),
  );
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  outgoing.end(Buffer.from(await response.arrayBuffer()));
}

/** Serves a router over HTTP; port 0 takes a free one. */
export async function listenHttp(
  router: Router,
  options: { readonly port: number; readonly host: string },
): Promise<HttpServer> {
  const server = createServer((message, response) => {
    serve(message, response, router).catch(() => {
      if (response.headersSent) response.destroy();
      else response.writeHead(500).end();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.host, () => {
      server.off("error", reject);
      resolve();
    });
  });
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : options.port;
  return {
    port,
    host: options.host,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
