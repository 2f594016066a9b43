import type { ServedCall } from "./observations.ts";

/**
 * Wraps what `serve` returned, for hosts that answer a `Request` with a `Response`, and for Node's request and response.
 * `onServed` hears of each request once it is answered; a response waits for it. Any other kind of host is not heard.
 */
export function observeServe<Args extends unknown[], Result>(
  served: (...args: Args) => Result,
  onServed: (call: ServedCall) => Promise<void>,
): (...args: Args) => Result {
  return (...args) => {
    const [request, response] = args;
    if (request instanceof Request) {
      return afterResponse(served(...args), (answer) => onServed(describe(request, answer)));
    }
    if (isNodeRequest(request) && isNodeResponse(response)) {
      response.once("finish", () => {
        const url = urlOf(request);
        // A request line that is no address is nobody's call.
        if (url === undefined) return;
        void onServed({
          method: request.method ?? "",
          url,
          header: (name) => request.headers[name]?.toString(),
          status: response.statusCode,
          sdk: response.getHeader("x-inngest-sdk")?.toString(),
        });
      });
    }
    return served(...args);
  };
}

function urlOf({ url = "/", headers }: NodeRequest): URL | undefined {
  const base = `http://${String(headers["host"] ?? "localhost")}`;
  return URL.canParse(url, base) ? new URL(url, base) : undefined;
}

function describe(request: Request, response: Response): ServedCall {
  return {
    method: request.method,
    url: new URL(request.url),
    header: (name) => request.headers.get(name) ?? undefined,
    status: response.status,
    sdk: response.headers.get("x-inngest-sdk") ?? undefined,
  };
}

/** The same promise of a response, which waits until it was noted. Anything else is returned as it is. */
function afterResponse<Result>(
  result: Result,
  note: (response: Response) => Promise<void>,
): Result {
  if (!(result instanceof Promise)) return result;
  const noted: Promise<unknown> = result.then(async (response: unknown) => {
    if (response instanceof Response) await note(response);
    return response;
  });
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it resolves with what `result` resolves with
  return noted as Result;
}

/** What of Node's request and response is read. */
interface NodeRequest {
  readonly method?: string;
  readonly url?: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}
interface NodeResponse {
  readonly statusCode: number;
  once(event: "finish", listener: () => void): unknown;
  getHeader(name: string): number | string | string[] | undefined;
  setHeader(name: string, value: string): unknown;
  end(body: string): unknown;
}

function isNodeRequest(value: unknown): value is NodeRequest {
  return typeof value === "object" && value !== null && "headers" in value && "url" in value;
}

function isNodeResponse(value: unknown): value is NodeResponse {
  return typeof value === "object" && value !== null && "once" in value && "statusCode" in value;
}

/** What a host answers that does not serve: no SDK takes it for an app, and a person reads why. */
const notServed = {
  error: "functions_not_served",
  message:
    "This host serves no functions: BACKGROUND_JOBS_SERVE_FUNCTIONS leaves them to another host. Sync that one.",
};

/** The route `/api/inngest` of a host that serves no functions: 404 with the reason, and nothing is registered. */
export function refuseToServe(...args: readonly unknown[]): Promise<Response> {
  const [, response] = args;
  if (isNodeResponse(response)) {
    Object.assign(response, { statusCode: 404 });
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(notServed));
  }
  return Promise.resolve(Response.json(notServed, { status: 404 }));
}
