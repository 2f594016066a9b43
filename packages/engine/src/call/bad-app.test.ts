import { type RequestListener, createServer } from "node:http";

import { Inngest } from "inngest";
import { serve } from "inngest/node";
import { afterEach, describe, expect, it } from "vitest";

import { EngineStalledError } from "../engine-error.ts";
import { type Engine, createEngine } from "../engine.ts";
import { createSdkApp } from "../testing/sdk-app.ts";
import { virtualClock } from "../time/clock.ts";
import type { Handler } from "../transport/transport.ts";

const open: Engine[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((engine) => engine.close()));
});

/** An app that registers one function without retries but one, and responds to calls as told. */
function setup(respond: (call: number) => Response | Promise<Response>) {
  let calls = 0;
  const log: string[] = [];
  const handler: Handler = async (request) => {
    if (request.method === "POST") {
      calls += 1;
      return respond(calls);
    }
    const body = {
      app_id: "bad",
      url: request.url,
      functions: [
        {
          id: "bad-f",
          name: "f",
          triggers: [{ event: "a" }],
          steps: {
            step: {
              id: "step",
              runtime: { type: "http", url: `${request.url}?fnId=bad-f&stepId=step` },
              retries: { attempts: 1 },
            },
          },
        },
      ],
    };
    return Response.json(body, { headers: { "x-inngest-sync-kind": "in_band" } });
  };
  const note = (event: string, fields?: Readonly<Record<string, unknown>>) =>
    void log.push(`${event} ${JSON.stringify(fields)}`);
  const engine = createEngine({
    clock: virtualClock(),
    handler,
    logger: { debug: note, info: note, warn: note, error: note },
    stallMs: 200,
  });
  open.push(engine);
  return { engine, log, calls: () => calls };
}

const sdk = { "x-inngest-sdk": "js:v4.24.0", "x-inngest-req-version": "2" };

describe("an app that misbehaves", () => {
  it.each([
    [
      "answers HTML",
      () =>
        new Response("<html>oops</html>", {
          status: 502,
          headers: { "content-type": "text/html" },
        }),
      { name: "Server returned a fatal error", message: /HTTP 502 before the SDK responded/ },
    ],
    [
      "answers 200 without an SDK",
      () => new Response("hello"),
      { name: "not_sdk", message: /did not come from an Inngest SDK/ },
    ],
    [
      "answers garbage as steps",
      () => new Response("{{{", { status: 206, headers: sdk }),
      { name: "Error", message: /error reading generator opcode response/ },
    ],
    [
      "answers no steps at all",
      () => new Response("", { status: 206, headers: sdk }),
      { name: "Error", message: /no response data/ },
    ],
    [
      "throws",
      () => {
        throw new Error("socket gone");
      },
      { name: "Error", message: /socket gone/ },
    ],
  ])("is tried again and then fails the run: %s", async (_what, respond, error) => {
    const { engine, log, calls } = setup(respond);
    await engine.send({ name: "a" });
    await engine.advance("10m");
    expect(calls()).toBe(2);
    expect(engine.runs()[0]?.status).toBe("Failed");
    expect(engine.runs()[0]?.output).toMatchObject({
      name: error.name,
      message: expect.stringMatching(error.message),
    });
    expect(log.some((line) => line.startsWith("app.failed") && line.includes('"app":"bad"'))).toBe(
      true,
    );
  });

  it("is asked again for discovery after an empty list of steps", async () => {
    const { engine } = setup((call) =>
      call === 1
        ? new Response("[]", { status: 206, headers: sdk })
        : new Response('"done"', { status: 200, headers: sdk }),
    );
    await engine.send({ name: "a" });
    await engine.settled();
    expect(engine.runs()[0]).toMatchObject({ status: "Completed", output: "done" });
  });

  it("stalls virtual time with an error that names it", async () => {
    const { engine } = setup(() => new Promise<Response>(() => {}));
    await engine.send({ name: "a" });
    await expect(engine.advance("1m")).rejects.toThrow(EngineStalledError);
    await expect(engine.settled()).rejects.toThrow(/bad-f/);
  });

  it("fails a run of a function that the app no longer has", async () => {
    let isGone = false;
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction(
        { id: "f", retries: 0, triggers: [{ event: "a" }] },
        async ({ step }) => {
          await step.sleep("nap", "1h");
          if (isGone) throw new Error("unreachable");
        },
      ),
    ]);
    open.push(engine);
    await engine.send({ name: "a" });
    await engine.settled();
    isGone = true;
    await engine.advance("2h");
    expect(engine.runs()[0]?.status).toBe("Failed");
  });
});

describe("an app over HTTP", () => {
  it("is down, comes up, goes down in the middle of a run and comes back", async () => {
    const engine = createEngine({ clock: virtualClock() });
    open.push(engine);
    const inngest = new Inngest({
      id: "web",
      isDev: true,
      baseUrl: (await engine.listen()).url,
      logger: { info() {}, warn() {}, error() {}, debug() {} },
    });
    const app = serve({
      client: inngest,
      functions: [
        inngest.createFunction({ id: "f", triggers: [{ event: "a" }] }, async ({ step }) => {
          await step.run("before", () => 1);
          await step.sleep("nap", "1m");
          return step.run("after", () => 2);
        }),
      ],
    });
    const first = await listen(app, 0);
    const url = `http://127.0.0.1:${first.port}/api/inngest`;
    await first.close();
    await expect(engine.register(url)).rejects.toThrow(/Unable to reach SDK URL/);
    const second = await listen(app, first.port);
    await engine.register(url);
    await inngest.send({ name: "a" });
    await engine.settled();
    await second.close();
    await engine.advance("75s");
    expect(engine.runs()[0]?.status).toBe("Running");
    const third = await listen(app, first.port);
    await engine.advance("1m");
    expect(engine.runs()[0]).toMatchObject({ status: "Completed", output: 2 });
    await third.close();
  });
});

async function listen(
  app: RequestListener,
  port: number,
): Promise<{ port: number; close: () => Promise<void> }> {
  const server = createServer(app);
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
