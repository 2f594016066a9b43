import { matchingPatterns } from "../event/event.ts";
import { canonicalJson } from "../json.ts";
import type { App } from "./app.ts";
import { type FunctionConfig, FunctionRefusedError } from "./function-config.ts";
import { parseFunction } from "./function-parser.ts";
import type { Registration } from "./registration.ts";

/** The apps and functions that the engine knows. */
export interface AppRegistry {
  /**
   * Registers an app, or replaces it; `modified` is false when the app said the same before.
   *
   * @throws FunctionRefusedError when a function is invalid; the app then stays as it was.
   */
  register(registration: Registration): { app: App; modified: boolean };
  apps(): App[];
  remove(url: string): App | undefined;
  functions(): FunctionConfig[];
  findFunction(slugOrId: string): FunctionConfig | undefined;
  /** The functions with a trigger that the event name meets. */
  functionsByEvent(eventName: string): readonly FunctionConfig[];
  clear(): void;
}

/** Creates an {@link AppRegistry}; `onChange` hears of every app that changed. */
export function createAppRegistry(deps: { onChange: (app: App) => void }): AppRegistry {
  const apps = new Map<string, App>();
  const byKey = new Map<string, FunctionConfig>();
  const byEvent = new Map<string, readonly FunctionConfig[]>();

  function index(): void {
    byKey.clear();
    byEvent.clear();
    for (const fn of allFunctions()) {
      byKey.set(fn.slug, fn);
      byKey.set(fn.id, fn);
    }
  }

  function allFunctions(): FunctionConfig[] {
    return [...apps.values()].flatMap((app) => app.functions);
  }

  return {
    register(registration) {
      if (registration.appName === "") throw new FunctionRefusedError("App ID required");
      const checksum = canonicalJson(registration);
      const known = apps.get(registration.appName);
      if (known?.checksum === checksum) return { app: known, modified: false };
      const app: App = {
        name: registration.appName,
        url: registration.url,
        sdk: registration.sdk,
        framework: registration.framework,
        functions: registration.functions.map((source) =>
          parseFunction(source, registration.appName),
        ),
        checksum,
      };
      apps.set(app.name, app);
      index();
      deps.onChange(app);
      return { app, modified: true };
    },
    apps: () => [...apps.values()],
    remove(url) {
      const app = [...apps.values()].find((candidate) => candidate.url === url);
      if (app === undefined) return undefined;
      apps.delete(app.name);
      index();
      deps.onChange({ ...app, functions: [] });
      return app;
    },
    functions: allFunctions,
    findFunction: (slugOrId) => byKey.get(slugOrId),
    functionsByEvent(eventName) {
      const known = byEvent.get(eventName);
      if (known !== undefined) return known;
      const patterns = new Set(matchingPatterns(eventName));
      const found = allFunctions().filter((fn) =>
        fn.triggers.some((trigger) => trigger.kind === "event" && patterns.has(trigger.event)),
      );
      if (byEvent.size > 5_000) byEvent.clear();
      byEvent.set(eventName, found);
      return found;
    },
    clear() {
      apps.clear();
      index();
    },
  };
}
