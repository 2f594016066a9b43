import type { AppRegistry } from "../app/app-registry.ts";
import type { Explanation } from "../engine-view.ts";
import {
  type EngineEvent,
  EventRefusedError,
  internalDataKey,
  internalEvents,
  readMeta,
} from "../event/event.ts";
import type { Intake } from "../event/intake.ts";
import { isObject, parseJson } from "../json.ts";
import { createCancellations } from "./cancellations-api.ts";
import { registerApp, removeApp, showInfo } from "./dev-api.ts";
import { receiveEvents } from "./event-api.ts";
import { type FaultTarget, injectFault } from "./faults-api.ts";
import type { InboundRequest } from "./inbound-request.ts";
import { respondError, respondJson } from "./json-response.ts";
import { showOverview } from "./overview.ts";
import {
  type RunsApiDeps,
  cancelRun,
  checkpoint,
  listBatch,
  listEventRuns,
  listEvents,
  listFunctions,
  listSteps,
  receiveSignal,
  showEvent,
  showRun,
} from "./runs-api.ts";

/** What the engine's HTTP interface stands on. */
export interface RouterDeps extends RunsApiDeps {
  readonly apps: AppRegistry;
  readonly intake: Intake;
  readonly eventKeys: readonly string[];
  readonly urls: readonly string[];
  readonly nextId: () => string;
  readonly faults: FaultTarget;
  readonly explain: (eventId: string) => readonly Explanation[];
}

type Params = readonly string[];
type Route = (request: InboundRequest, url: URL, params: Params) => Response | Promise<Response>;

/** Responds to a request to the engine, as the real server's HTTP interface does. */
export type Router = (request: InboundRequest) => Promise<Response>;

/** Creates the engine's {@link Router}. */
export function createRouter(deps: RouterDeps): Router {
  const { journal, now } = deps;
  const cancellations = createCancellations(deps);

  async function invoke(request: InboundRequest, slug: string): Promise<Response> {
    const body = parseJson(await request.text());
    if (!isObject(body)) return respondError(400, "Unable to read post data request");
    const data = isObject(body["data"]) ? body["data"] : {};
    const meta = readMeta(body["meta"]);
    const event: EngineEvent = {
      id: deps.nextId(),
      name: internalEvents.invoked,
      data: { ...data, [internalDataKey]: { fn_id: decodeURIComponent(slug) } },
      ts: now(),
      user: {},
      ...(meta === undefined ? {} : { meta }),
    };
    return respondJson({ id: deps.intake.publish(event).internalId, status: 200 });
  }

  const routes: readonly (readonly [string, RegExp, Route])[] = [
    ["POST", /^\/e\/([^/]*)$/, (request, _url, [key = ""]) => receiveEvents(request, key, deps)],
    [
      "POST",
      /^\/v1\/checkpoint\/([^/]+)\/async$/,
      async (request, _url, [id = ""]) => checkpoint(id, await request.text(), deps),
    ],
    [
      "POST",
      /^\/fn\/register$/,
      async (request) => registerApp(request, await request.text(), deps),
    ],
    [
      "DELETE",
      /^\/fn\/remove$/,
      (_request, url) => removeApp(url.searchParams.get("url") ?? "", deps),
    ],
    [
      "GET",
      /^\/$/,
      (request) =>
        showOverview(
          request.headers.get("accept"),
          deps.apps.apps().map((app) => app.name),
        ),
    ],
    ["GET", /^\/health$/, () => respondJson({ status: 200, message: "OK" })],
    ["GET", /^\/dev$/, () => showInfo(deps)],
    ["GET", /^\/v1\/events$/, (_request, url) => listEvents(url.searchParams, deps)],
    ["GET", /^\/v1\/events\/([^/]+)$/, (_request, _url, [id = ""]) => showEvent(id, deps)],
    [
      "GET",
      /^\/v1\/events\/([^/]+)\/runs$/,
      (_request, _url, [id = ""]) => listEventRuns(id, deps),
    ],
    ["GET", /^\/v1\/runs\/([^/]+)$/, (_request, _url, [id = ""]) => showRun(id, deps)],
    ["DELETE", /^\/v1\/runs\/([^/]+)$/, (_request, _url, [id = ""]) => cancelRun(id, deps)],
    ["GET", /^\/v0\/runs\/([^/]+)\/actions$/, (_request, _url, [id = ""]) => listSteps(id, deps)],
    ["GET", /^\/v0\/runs\/([^/]+)\/batch$/, (_request, _url, [id = ""]) => listBatch(id, deps)],
    [
      "POST",
      /^\/v1\/cancellations$/,
      async (request) => cancellations.create(await request.text()),
    ],
    ["GET", /^\/v1\/cancellations$/, () => cancellations.list()],
    [
      "DELETE",
      /^\/v1\/cancellations\/([^/]+)$/,
      (_request, _url, [id = ""]) => cancellations.remove(id),
    ],
    [
      "GET",
      /^\/dev\/explain\/([^/]+)$/,
      (_request, _url, [id = ""]) => respondJson(deps.explain(decodeURIComponent(id))),
    ],
    ["POST", /^\/dev\/faults$/, async (request) => injectFault(await request.text(), deps.faults)],
    ["POST", /^\/v1\/signals$/, async (request) => receiveSignal(await request.text(), deps)],
    [
      "GET",
      /^\/v1\/apps\/([^/]+)\/functions$/,
      (_request, _url, [name = ""]) => listFunctions(name, deps),
    ],
    ["POST", /^\/invoke\/([^/]+)$/, (request, _url, [slug = ""]) => invoke(request, slug)],
  ];

  return async (request) => {
    try {
      const url = new URL(request.url);
      for (const [method, pattern, route] of routes) {
        if (method !== request.method) continue;
        const match = pattern.exec(url.pathname);
        if (match !== null) return await route(request, url, match.slice(1));
      }
      return respondError(404, `No such page: ${request.method} ${url.pathname}`);
    } catch (error) {
      if (error instanceof EventRefusedError) return respondError(400, error.message);
      if (error instanceof URIError) return respondError(400, "The path is not well encoded");
      journal.record("error", "engine.fault", { url: request.url, error: String(error) });
      return respondError(500, "Something went wrong.  Please try again");
    }
  };
}
