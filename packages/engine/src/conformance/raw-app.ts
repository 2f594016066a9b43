import type { Handler } from "../transport/transport.ts";
import type { ScenarioContext } from "./scenario.ts";

/** A call request that a hand-written app received. */
export interface RawCall {
  readonly body: Record<string, unknown>;
  readonly headers: Headers;
  readonly url: URL;
}

/** Headers by which a server knows an SDK. */
export const sdkHeaders: Readonly<Record<string, string>> = {
  "content-type": "application/json",
  "x-inngest-sdk": "js:v4.24.0",
  "x-inngest-req-version": "2",
};

/** Serves one function `f`, triggered by the scenario's event `a`, that responds to calls as told. */
export async function serveRaw(
  t: ScenarioContext,
  respond: (call: RawCall, index: number) => Response | Promise<Response>,
  options: { readonly retries?: number; readonly config?: Record<string, unknown> } = {},
): Promise<readonly RawCall[]> {
  const calls: RawCall[] = [];
  const handler: Handler = async (request) => {
    const url = new URL(request.url);
    if (request.method !== "PUT") {
      // A call request is always a JSON object.
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion
      const body = (await request.json()) as Record<string, unknown>;
      calls.push({ body, headers: request.headers, url });
      return respond({ body, headers: request.headers, url }, calls.length);
    }
    const registration = {
      deployType: "ping",
      v: "0.1",
      sdk: "js:v4.24.0",
      framework: "raw",
      appName: t.id,
      app_id: t.id,
      url: request.url,
      functions: [
        {
          id: `${t.id}-f`,
          name: "f",
          triggers: [{ event: t.name("a") }],
          steps: {
            step: {
              id: "step",
              name: "step",
              runtime: { type: "http", url: `${request.url}?fnId=${t.id}-f&stepId=step` },
              retries: { attempts: options.retries ?? 0 },
            },
          },
          ...options.config,
        },
      ],
    };
    if (request.headers.get("x-inngest-sync-kind") === "in_band") {
      const headers = { ...sdkHeaders, "x-inngest-sync-kind": "in_band" };
      return Response.json(registration, { headers });
    }
    const { status, json } = await t.ask("POST", "/fn/register", registration);
    return Response.json({ message: "registered", ...json }, { status, headers: sdkHeaders });
  };
  await t.serveHandler(handler);
  return calls;
}
