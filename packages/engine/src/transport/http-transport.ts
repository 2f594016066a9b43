import { type IncomingMessage, request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";

import {
  type AppResponse,
  type AppRequest,
  type Transport,
  TransportError,
  maxResponseBytes,
} from "./transport.ts";

const maxRedirects = 60;
const longestTimeoutMs = 2_147_483_647;

/** What the real server says of a connection that failed before the response began. */
function explainFailure(error: Error): string {
  const codes: string[] = "code" in error ? [String(error.code)] : [];
  if (error instanceof AggregateError) {
    for (const inner of error.errors as unknown[]) {
      if (inner instanceof Error && "code" in inner) codes.push(String(inner.code));
    }
  }
  const has = (...names: string[]) => names.some((name) => codes.includes(name));
  if (error.name === "TimeoutError" || has("ABORT_ERR")) return "context deadline exceeded";
  if (has("ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "ENOTFOUND", "EAI_AGAIN")) {
    return "Unable to reach SDK URL";
  }
  // A connection that ends without a word and one that is reset look alike here.
  if (has("ECONNRESET")) {
    return error.message === "socket hang up"
      ? "Unable to reach SDK URL"
      : "Your server reset the connection while we were sending the request.";
  }
  if (has("EPIPE")) return "Your server closed the request before finishing.";
  return `Error performing request to SDK URL: ${error.message}`;
}

function sendOnce(request: AppRequest, url: URL, signal: AbortSignal): Promise<IncomingMessage> {
  const send = url.protocol === "https:" ? requestHttps : requestHttp;
  return new Promise((resolve, reject) => {
    const outgoing = send(
      url,
      // One connection a request, as the real server does: none is stale when an app has restarted.
      {
        method: request.method,
        agent: false,
        signal,
        headers: {
          "user-agent": "Inngest",
          ...request.headers,
          "content-length": Buffer.byteLength(request.body),
        },
      },
      resolve,
    );
    outgoing.on("error", (cause) => reject(new TransportError(explainFailure(cause), { cause })));
    outgoing.end(request.body);
  });
}

async function readBody(message: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of message as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      chunks.push(chunk);
      if (bytes > maxResponseBytes) break;
    }
  } catch (cause) {
    throw new TransportError(
      "Your server reset the connection while we were reading the reply: Unexpected ending response",
      { cause },
    );
  }
  return Buffer.concat(chunks).toString();
}

function redirectOf(message: IncomingMessage, from: URL): URL | undefined {
  const { location } = message.headers;
  const isRedirect = [301, 302, 303, 307, 308].includes(message.statusCode ?? 0);
  if (!isRedirect || location === undefined || !URL.canParse(location, from.href)) return undefined;
  const to = new URL(location, from);
  // The function and step ids survive a redirect that forgets them.
  for (const [name, value] of from.searchParams) to.searchParams.set(name, value);
  return to;
}

/** Reaches apps over HTTP, as patiently as the real server: no time limit but the request's own. */
export function createHttpTransport(): Transport {
  return {
    async send(request): Promise<AppResponse> {
      const signal = AbortSignal.timeout(Math.min(request.timeoutMs, longestTimeoutMs));
      let url = new URL(request.url);
      for (let redirects = 0; redirects <= maxRedirects; redirects += 1) {
        const message = await sendOnce(request, url, signal);
        const next = redirectOf(message, url);
        if (next === undefined) {
          const headers = new Headers();
          for (const [name, value] of Object.entries(message.headers)) {
            if (value !== undefined) headers.set(name, String(value));
          }
          return { status: message.statusCode ?? 0, headers, body: await readBody(message) };
        }
        message.resume();
        url = next;
      }
      throw new TransportError(
        `Error performing request to SDK URL: stopped after ${maxRedirects} redirects`,
      );
    },
  };
}
