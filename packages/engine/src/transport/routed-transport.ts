import { createHandlerTransport } from "./handler-transport.ts";
import type { Handler, Transport } from "./transport.ts";

/** Reaches handlers in this process by an origin of their own, and everything else over another transport. */
export interface RoutedTransport extends Transport {
  /** Takes a handler in; returns the URL of its serve endpoint. */
  add(handler: Handler): string;
  /** The serve endpoints of all handlers, in the order they were added. */
  urls(): string[];
}

/** Creates a {@link RoutedTransport}; `outside` sends the requests that no handler takes. */
export function createRoutedTransport(deps: { outside: Transport }): RoutedTransport {
  const handlers = new Map<string, Transport>();
  const endpointOf = (origin: string) => `${origin}/api/inngest`;
  return {
    send(request) {
      const handler = handlers.size === 0 ? undefined : handlers.get(new URL(request.url).origin);
      return (handler ?? deps.outside).send(request);
    },
    add(handler) {
      const origin = `http://app-${handlers.size + 1}.engine.invalid`;
      handlers.set(origin, createHandlerTransport({ handler }));
      return endpointOf(origin);
    },
    urls: () => [...handlers.keys()].map(endpointOf),
  };
}
