/** What a request is dispatched to: the other routes of a host. */
export interface RoutedHandlers<Args extends unknown[], Result> {
  readonly cron: (request: Request) => Promise<Response>;
  readonly cronOfSchedule: (request: Request) => Promise<Response>;
  readonly receipts: (request: Request) => Promise<Response>;
  readonly inngest: (...args: Args) => Result;
}

/** The handlers of one catch-all route, as a framework with files for routes takes them. */
export type BackgroundRoutes<Args extends unknown[], Result> = Readonly<
  Record<
    "GET" | "POST" | "PUT",
    Args extends [Request, ...unknown[]]
      ? (...args: Args) => Promise<Response | Awaited<Result>>
      : never
  >
>;

/**
 * Returns the handlers of a route that answers for all others, wherever it is mounted: the last segments of a path
 * decide. A path that is none of them is answered with 404.
 */
export function createRoutes<Args extends unknown[], Result>(
  handlers: RoutedHandlers<Args, Result>,
): BackgroundRoutes<Args, Result> {
  const route = async (...args: Args): Promise<Response | Awaited<Result>> => {
    const [request] = args;
    if (!(request instanceof Request)) {
      throw new TypeError(
        "A host's routes take the Request of web standards. Call its other members.",
      );
    }
    const segments = new URL(request.url).pathname.split("/").filter((segment) => segment !== "");
    const [group, last] = segments.slice(-2);
    if (segments.at(-1) === "inngest") return await handlers.inngest(...args);
    if (group === "receipts") return handlers.receipts(request);
    if (group !== "cron") return Response.json({ error: "not_found" }, { status: 404 });
    return last === "background-jobs" ? handlers.cron(request) : handlers.cronOfSchedule(request);
  };
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- `never` where a framework has other requests
  return { GET: route, POST: route, PUT: route } as BackgroundRoutes<Args, Result>;
}
