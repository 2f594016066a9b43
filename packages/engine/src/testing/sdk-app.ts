import { Inngest } from "inngest";
import { serve } from "inngest/edge";

import type { EngineOptions } from "../engine-options.ts";
import { type Engine, createEngine } from "../engine.ts";
import { virtualClock } from "../time/clock.ts";

/** What `serve` takes as functions. */
export type Functions = Parameters<typeof serve>[0]["functions"];

const silent = { info() {}, warn() {}, error() {}, debug() {} };

/** An engine in virtual time with an app of the real SDK in the same process. */
export interface SdkApp {
  readonly engine: Engine;
  readonly inngest: Inngest;
}

/** Creates an {@link SdkApp}; its functions may use the engine, to read the time for example. */
export function createSdkApp(
  define: (inngest: Inngest, engine: Engine) => Functions,
  options: EngineOptions & { readonly checkpointing?: boolean } = {},
): SdkApp {
  const engine: Engine = createEngine({
    clock: virtualClock(),
    ...options,
    handler: (request) => handler(request),
  });
  const { checkpointing = true, signingKey } = options;
  const inngest = new Inngest({
    id: "app",
    baseUrl: engine.url,
    fetch: engine.fetch,
    logger: silent,
    checkpointing,
    ...(signingKey === undefined ? { isDev: true } : { isDev: false, signingKey, eventKey: "key" }),
  });
  const handler = serve({ client: inngest, functions: define(inngest, engine) });
  return { engine, inngest };
}
