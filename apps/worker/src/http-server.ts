import { createServer, type Server } from "node:http";

import { describeMessage, EvenkeelError, type Logger } from "@evenkeel/core";
import { redactError } from "@evenkeel/ledger";
import { getRequestListener } from "@hono/node-server";
import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";

import type { WorkerBackground } from "./background.ts";

/** What the worker's server works with. */
export interface HttpServerOptions {
  readonly background: Pick<WorkerBackground, "inngest" | "parts">;
  /** Aborts when the worker takes no more work. */
  readonly stopSignal: AbortSignal;
  /** Where requests that failed are logged. */
  readonly logger: Logger;
}

/** The largest body of a call, in bytes: Inngest keeps a run's steps under 32 MiB and its event under 3 MiB. */
const maxBodyBytes = 40 * 1024 * 1024;

/** What a client may send before its request is handled: bytes of headers, and the time for headers and for all of it. */
const limits = {
  maxHeaderSize: 16 * 1024,
  headersTimeout: 15_000,
  requestTimeout: 60_000,
} as const;

/**
 * Creates the worker's server, which does not listen yet: Inngest's calls at `/api/inngest`, liveness at
 * `/healthz`, readiness at `/readyz`. Once the signal has aborted, `/api/inngest` and `/readyz` respond 503.
 * No request ends the process: one that makes no sense gets 400, one over the limits 413 or 431, and a failure 500.
 */
export function createHttpServer(options: HttpServerOptions): Server {
  const { stopSignal } = options;
  // HTTP/1.0 knows no `Host`, and some load balancers still ask by it.
  const respond = getRequestListener(createApp(options).fetch, { hostname: "localhost" });
  const server = createServer(limits, (request, response) => {
    response.once("close", () => {
      // What was at work when the worker stopped has ended: its connection must not hold the server.
      if (stopSignal.aborted) server.closeIdleConnections();
    });
    void respond(request, response);
  });
  return server;
}

function createApp({ background, stopSignal, logger }: HttpServerOptions): Hono {
  const app = new Hono();
  const tooLarge = (): Response => json(413, { error: "body_too_large" });
  app.get("/healthz", () => json(200, { ok: true }));
  app.get("/readyz", async () => {
    if (stopSignal.aborted) return json(503, { ok: false, reason: "draining" });
    try {
      const { ledger, handshake } = background.parts();
      await ledger.ping();
      // Told, and no reason to take the worker out: it is ready for what comes.
      return json(200, { ok: true, handshake: handshake.latest() ?? null });
    } catch (error) {
      const reason = error instanceof EvenkeelError ? error.code : "database";
      return json(503, { ok: false, reason });
    }
  });
  app.use("/api/inngest", async (_context, next) => {
    if (stopSignal.aborted) return json(503, { error: "draining" });
    return next();
  });
  app.use("/api/inngest", bodyLimit({ maxSize: maxBodyBytes, onError: tooLarge }));
  app.all("/api/inngest", ({ req }) => background.inngest(asItsCallerSeesIt(req.raw)));
  app.notFound(() => json(404, { error: "not_found" }));
  app.onError((error, { req }) => {
    logger.warn("http.request_failed", {
      method: req.method,
      path: req.path,
      error: redactError(describeMessage(error)),
    });
    // The SDK parses a body outside of what it guards.
    return error instanceof SyntaxError
      ? json(400, { error: "invalid_json" })
      : json(500, { error: "internal" });
  });
  return app;
}

/** Behind a proxy that ends TLS, the app registers under `https`. */
function asItsCallerSeesIt(request: Request): Request {
  const isSecure = /^https\b/iu.test(request.headers.get("x-forwarded-proto") ?? "");
  if (request.method !== "PUT" || !isSecure) return request;
  return new Request(request.url.replace(/^http:/u, "https:"), request);
}

function json(status: number, body: object): Response {
  return Response.json(body, { status, headers: { "cache-control": "no-store" } });
}
