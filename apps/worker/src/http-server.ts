import { createServer, type Server, type ServerResponse } from "node:http";

import type { WorkerBackground } from "./background.ts";

/** What the worker's server works with. */
export interface HttpServerOptions {
  readonly background: WorkerBackground;
  /** Aborts when the worker takes no more work. */
  readonly stopSignal: AbortSignal;
}

/**
 * Creates the worker's server, which does not listen yet: Inngest's calls at `/api/inngest`, liveness at
 * `/healthz`, readiness at `/readyz`. Once the signal has aborted, `/api/inngest` and `/readyz` respond 503.
 */
export function createHttpServer({ background, stopSignal }: HttpServerOptions): Server {
  const server = createServer((request, response) => {
    const pathname = readPath(request.url);
    response.once("close", () => {
      // What was at work when the worker stopped has ended: its connection must not hold the server.
      if (stopSignal.aborted) server.closeIdleConnections();
    });
    if (pathname === "/api/inngest" && stopSignal.aborted) {
      respond(response, 503, { error: "draining" });
    } else if (pathname === "/api/inngest") background.inngest(request, response);
    else if (pathname === "/healthz") respond(response, 200, { ok: true });
    else if (pathname === "/readyz")
      void respondReadiness(response, background, stopSignal.aborted);
    else respond(response, 404, { error: "not_found" });
  });
  return server;
}

/** Returns the path of a request's target. Never throws: `//` is a target that a URL parser refuses as relative. */
function readPath(target: string = "/"): string {
  const url = target.startsWith("/") ? `http://localhost${target}` : target;
  return URL.parse(url)?.pathname ?? "/";
}

async function respondReadiness(
  response: ServerResponse,
  background: WorkerBackground,
  isStopping: boolean,
): Promise<void> {
  if (isStopping) return respond(response, 503, { ok: false, reason: "draining" });
  try {
    await background.parts().ledger.ping();
    respond(response, 200, { ok: true });
  } catch {
    respond(response, 503, { ok: false, reason: "database" });
  }
}

function respond(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { "content-type": "application/json", "cache-control": "no-store" });
  response.end(JSON.stringify(body));
}
