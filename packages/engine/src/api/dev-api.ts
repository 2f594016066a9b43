import type { AppRegistry } from "../app/app-registry.ts";
import { FunctionRefusedError } from "../app/function-config.ts";
import { readRegistration } from "../app/registration.ts";
import { deterministicUuid } from "../identity.ts";
import type { Journal } from "../journal.ts";
import { parseJson } from "../json.ts";
import type { InboundRequest } from "./inbound-request.ts";
import { respondError, respondJson } from "./json-response.ts";

/** Serves `POST /fn/register`: an app registers its functions by itself. */
export function registerApp(
  request: InboundRequest,
  text: string,
  deps: { apps: AppRegistry; journal: Journal; nextId: () => string },
): Response {
  const expected = request.headers.get("x-inngest-expected-server-kind");
  if (expected !== null && expected !== "" && expected !== "dev") {
    return respondError(400, `Expected server kind dev, got ${expected}`);
  }
  const registration = readRegistration(parseJson(text));
  if (registration === undefined) return respondError(400, "Invalid request");
  try {
    const { app, modified } = deps.apps.register(registration);
    if (modified) {
      deps.journal.record("info", "app.synced", {
        app: app.name,
        url: app.url,
        functions: app.functions.length,
      });
    }
    return respondJson({
      ok: true,
      modified,
      app_id: deterministicUuid(app.name),
      sync_id: deterministicUuid(deps.nextId()),
    });
  } catch (error) {
    if (!(error instanceof FunctionRefusedError)) throw error;
    deps.journal.record("warn", "app.refused", {
      app: registration.appName,
      url: registration.url,
      reason: error.message,
    });
    const message =
      error.message === "App ID required" ? error.message : "At least one function is invalid";
    return respondError(400, message, { reason: error.message });
  }
}

/** Serves `DELETE /fn/remove?url=`. */
export function removeApp(url: string, deps: { apps: AppRegistry }): Response {
  return deps.apps.remove(url) === undefined
    ? respondError(404, `App not found: ${url}`)
    : respondJson({ ok: true });
}

/** Serves `GET /dev`: what the SDK asks to see whether a development server is there. */
export function showInfo(deps: { apps: AppRegistry; urls: readonly string[] }): Response {
  return respondJson({
    version: "evenkeel-engine",
    authed: false,
    startOpts: { urls: deps.urls, autodiscover: false, poll: true },
    functions: deps.apps.functions().map((fn) => ({
      ...fn.source,
      id: fn.id,
      slug: fn.slug,
      name: fn.name,
      url: fn.url,
    })),
    handlers: deps.apps.apps().map((app) => ({
      functions: app.functions.map((fn) => fn.slug),
      sdk: { url: app.url, appName: app.name, sdk: app.sdk, framework: app.framework },
    })),
    isSingleNodeService: false,
    isMissingSigningKey: false,
    isMissingEventKeys: false,
    features: {},
  });
}
