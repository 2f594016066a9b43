import { type AppResponse, type Handler, type Transport, TransportError } from "./transport.ts";

/** Calls a handler in this process, with no socket between. */
export function createHandlerTransport(deps: { handler: Handler }): Transport {
  return {
    async send(request): Promise<AppResponse> {
      try {
        const response = await deps.handler(
          new Request(request.url, {
            method: request.method,
            headers: { ...request.headers, host: new URL(request.url).host },
            ...(request.method === "GET" ? {} : { body: request.body }),
          }),
        );
        return { status: response.status, headers: response.headers, body: await response.text() };
      } catch (cause) {
        const message = cause instanceof Error ? cause.message : String(cause);
        throw new TransportError(`Error performing request to SDK URL: ${message}`, { cause });
      }
    },
  };
}
