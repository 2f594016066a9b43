import { type IncomingMessage, type ServerResponse, createServer } from "node:http";

import type { AfterResponse } from "./after-response.ts";
import { respondError } from "./json-response.ts";
import type { OriginGuard } from "./origin-guard.ts";
import type { Router } from "./router.ts";

/** A listening HTTP server. */
export interface HttpServer {
  readonly port: number;
  readonly host: string;
  close(): Promise<void>;
}

/** What an HTTP server serves with. */
export interface HttpServerDeps {
  readonly router: Router;
  readonly guard: OriginGuard;
  readonly afterResponse: AfterResponse;
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

/** Reads a request line's target: a path, or a whole URL, whose host then counts as the request's. */
function readTarget(target: string): { path: string; host?: string } | undefined {
  if (target.startsWith("/") || target === "*") return { path: target.replace(/^\*$/u, "/*") };
  if (!/^https?:\/\/[^/?#]/iu.test(target) || !URL.canParse(target)) return undefined;
  const { host, pathname, search } = new URL(target);
  return { path: `${pathname}${search}`, host };
}

function readHeaders(message: IncomingMessage): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(message.headers)) {
    if (value !== undefined) headers.set(name, Array.isArray(value) ? value.join(", ") : value);
  }
  return headers;
}

async function respond(
  message: IncomingMessage,
  deps: HttpServerDeps,
  afterResponse: (work: () => void) => void,
): Promise<Response> {
  const target = readTarget(message.url ?? "/");
  if (target === undefined) return respondError(400, "the request names no path");
  const { host, origin } = message.headers;
  const refusal = deps.guard(target.host ?? host, origin);
  if (refusal !== undefined) return respondError(refusal.status, refusal.error);
  const body = await readBody(message);
  if (body === undefined) return new Response(null, { status: 413 });
  return deps.router({
    method: message.method ?? "GET",
    url: `http://localhost${target.path}`,
    headers: readHeaders(message),
    text: () => Promise.resolve(body.toString()),
    afterResponse,
  });
}

/** How long a response may take to its reader on this machine, before anything follows from its request. */
const receiptMs = 5;

/** Runs work when a response that is on its way has been read. */
function afterReceipt(work: () => void): void {
  // On a busy loop the timer comes first: the reader of this process gets its turn after it.
  setTimeout(() => setImmediate(work), receiptMs);
}

async function serve(
  message: IncomingMessage,
  outgoing: ServerResponse,
  deps: HttpServerDeps,
): Promise<void> {
  const work = deps.afterResponse.begin(afterReceipt);
  // Closed without a response, the request was still taken in.
  outgoing.once("close", () => work.sent());
  try {
    const response = await respond(message, deps, (each) => work.add(each));
    const body = Buffer.from(await response.arrayBuffer());
    // What is left unread of a request would be taken for the next one.
    const ending = message.complete ? {} : { connection: "close" };
    outgoing.writeHead(response.status, { ...Object.fromEntries(response.headers), ...ending });
    outgoing.end(body, () => work.sent());
  } catch {
    if (outgoing.headersSent) outgoing.destroy();
    else outgoing.writeHead(500).end();
  }
}

/** Serves a router over HTTP; port 0 takes a free one. */
export async function listenHttp(
  deps: HttpServerDeps,
  options: { readonly port: number; readonly host: string },
): Promise<HttpServer> {
  const server = createServer((message, response) => void serve(message, response, deps));
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
