import type { Engine } from "@evenkeel/engine";
import { Inngest } from "inngest";
import { serve } from "inngest/edge";
import { z } from "zod";

const drop = (): void => {};

/** A logger that drops everything. */
export const silent: Readonly<Record<"debug" | "info" | "warn" | "error", () => void>> = {
  debug: drop,
  info: drop,
  warn: drop,
  error: drop,
};

/** What the bare app reads of a sync or a call request. */
const requestSchema = z.object({
  url: z.string().default(""),
  ctx: z
    .object({
      run_id: z.string(),
      fn_id: z.string(),
      qi_id: z.string(),
      generation_id: z.number(),
    })
    .default({ run_id: "", fn_id: "", qi_id: "", generation_id: 0 }),
});

/** A fetch-style serve endpoint. */
export type Handler = (request: Request) => Promise<Response>;

/** Serves an app of one step with the SDK. Most of its time is the SDK's own. */
export function serveWithSdk(engine: Pick<Engine, "url" | "fetch">): Handler {
  const inngest = new Inngest({
    id: "bench",
    isDev: true,
    baseUrl: engine.url,
    fetch: engine.fetch,
    logger: silent,
  });
  const fn = inngest.createFunction(
    { id: "one-step", triggers: [{ event: "bench/event" }] },
    async ({ step }) => step.run("work", () => 1),
  );
  return serve({ client: inngest, functions: [fn] });
}

/**
 * Returns the requests per second that the SDK's `serve` takes by itself: the same call request over and over,
 * beside a server that costs nothing. No engine can start more runs of such an app per second.
 */
export async function measureSdkAlone(requests: number, atOnce: number): Promise<number> {
  const handler = serveWithSdk({
    url: "http://engine.invalid",
    fetch: async () => Response.json({}),
  });
  const event = { id: "e", name: "bench/event", data: {}, ts: 1 };
  const body = JSON.stringify({
    version: 2,
    event,
    events: [event],
    steps: {},
    ctx: {
      run_id: "01ARZ3NDEKTSV4RRFFQ69G5FAV",
      fn_id: "bench-one-step",
      attempt: 0,
      qi_id: "item",
      generation_id: 1,
      disable_immediate_execution: false,
      stack: { stack: [], current: 0 },
    },
  });
  const request = (): Request =>
    new Request("http://app.invalid/api/inngest?fnId=bench-one-step&stepId=step", {
      method: "POST",
      body,
      headers: {
        host: "app.invalid",
        "content-type": "application/json",
        "x-inngest-server-kind": "dev",
      },
    });
  let left = requests;
  const startedAt = performance.now();
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (left-- > 0) {
        const response = await handler(request());
        if (!(await response.text()).includes("RunComplete")) {
          throw new Error(`The SDK responded with HTTP ${response.status}.`);
        }
      }
    }),
  );
  return requests / ((performance.now() - startedAt) / 1_000);
}

/** Serves the same app without the SDK, with what the SDK would send: a checkpoint, and the run's end. */
export function serveBare(engine: Engine): Handler {
  const headers = {
    "content-type": "application/json",
    "x-inngest-sdk": "bench:v1.0.0",
    "x-inngest-req-version": "2",
  };
  const step = { op: "StepRun", id: "9f".repeat(20), name: "work", displayName: "work", data: 1 };
  return async (request) => {
    const body = requestSchema.parse(await request.json());
    if (request.method === "PUT") {
      return Response.json(
        {
          app_id: "bench",
          url: body.url,
          sdk: "bench:v1.0.0",
          framework: "bare",
          functions: [
            {
              id: "bench-one-step",
              name: "one-step",
              triggers: [{ event: "bench/event" }],
              steps: {
                step: {
                  id: "step",
                  runtime: { type: "http", url: `${body.url}?fnId=bench-one-step&stepId=step` },
                },
              },
            },
          ],
        },
        { headers: { ...headers, "x-inngest-sync-kind": "in_band" } },
      );
    }
    await engine.fetch(`${engine.url}/v1/checkpoint/${body.ctx.run_id}/async`, {
      method: "POST",
      body: JSON.stringify({
        run_id: body.ctx.run_id,
        fn_id: body.ctx.fn_id,
        qi_id: body.ctx.qi_id,
        generation_id: body.ctx.generation_id,
        steps: [step],
        ts: 0,
      }),
    });
    return new Response(JSON.stringify([{ op: "RunComplete", id: "c0".repeat(20), data: 1 }]), {
      status: 206,
      headers,
    });
  };
}
