/** A request to the engine, as far as it reads one; every `Request` is one. */
export interface InboundRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: Headers;
  text(): Promise<string>;
  /** Runs work when the response is on its way. Where it is missing, work runs at once. */
  readonly afterResponse?: (work: () => void) => void;
}

/**
 * Reads the arguments of `fetch` as a request to the engine. A `Request` of its own, with a stream for
 * its body, would cost as much as all else that the engine does for a step.
 */
export function readFetchArguments(
  input: string | URL | Request,
  init: RequestInit = {},
): InboundRequest {
  if (input instanceof Request) return new Request(input, init);
  const { body } = init;
  return {
    method: (init.method ?? "GET").toUpperCase(),
    url: String(input),
    headers: new Headers(init.headers),
    text: async () => (typeof body === "string" ? body : new Response(body ?? null).text()),
  };
}
