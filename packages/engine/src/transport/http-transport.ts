import { type AppAnswer, type Transport, TransportError } from "./transport.ts";

/** What the real server says of a failed connection. */
function explainFailure(error: unknown): string {
  const codes: string[] = [];
  const messages: string[] = [];
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    messages.push(cause.message);
    if ("code" in cause && typeof cause.code === "string") codes.push(cause.code);
    if (cause instanceof AggregateError) {
      for (const inner of cause.errors as unknown[]) {
        if (inner instanceof Error && "code" in inner) codes.push(String(inner.code));
      }
    }
    if (cause.name === "TimeoutError") return "context deadline exceeded";
  }
  const has = (...names: string[]) => names.some((name) => codes.includes(name));
  if (has("ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "ENOTFOUND", "UND_ERR_SOCKET")) {
    return "Unable to reach SDK URL";
  }
  if (has("ECONNRESET")) {
    return "Your server reset the connection while we were sending the request.";
  }
  if (has("EPIPE")) return "Your server closed the request before finishing.";
  return `Error performing request to SDK URL: ${messages.at(-1) ?? "unknown error"}`;
}

/** Reaches apps over HTTP. */
export function createHttpTransport(deps: { fetch: typeof fetch }): Transport {
  return {
    async send(request): Promise<AppAnswer> {
      try {
        const response = await deps.fetch(request.url, {
          method: request.method,
          headers: request.headers,
          ...(request.method === "GET" ? {} : { body: request.body }),
          redirect: "follow",
          signal: AbortSignal.timeout(Math.min(request.timeoutMs, 2_147_483_647)),
        });
        return { status: response.status, headers: response.headers, body: await response.text() };
      } catch (cause) {
        throw new TransportError(explainFailure(cause), { cause });
      }
    },
  };
}
