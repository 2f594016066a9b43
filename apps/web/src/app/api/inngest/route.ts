import { serve } from "inngest/next";

import { webHost } from "../../../host.ts";

export const dynamic = "force-dynamic";
/** Seconds that one step may take on platforms with a limit: the host's `hostTimeoutMs`. */
export const maxDuration = 60;

type Handlers = ReturnType<typeof serve>;

let handlers: Handlers | undefined;

/** Made at the first request: a build has no environment. */
function served(): Handlers {
  const { client, functions } = webHost();
  handlers ??= serve({ client, functions: [...functions] });
  return handlers;
}

export const GET: Handlers["GET"] = (request, context) => served().GET(request, context);
export const POST: Handlers["POST"] = (request, context) => served().POST(request, context);
export const PUT: Handlers["PUT"] = (request, context) => served().PUT(request, context);
