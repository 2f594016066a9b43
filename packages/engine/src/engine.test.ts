import { createServer } from "node:http";

import { Inngest, NonRetriableError, RetryAfterError } from "inngest";
import { serve as serveEdge } from "inngest/edge";
import { serve as serveNode } from "inngest/node";
import { afterEach, describe, expect, it } from "vitest";

import { type Engine, createEngine } from "./engine.ts";
import { virtualClock } from "./time/clock.ts";

type Functions = Parameters<typeof serveEdge>[0]["functions"];
const open: Engine[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((engine) => engine.close()));
});

function setup(define: (inngest: Inngest) => Functions) {
  const engine = createEngine({ clock: virtualClock(), handler: (request) => handler(request) });
  open.push(engine);
  const inngest = new Inngest({
    id: "app",
    isDev: true,
    baseUrl: engine.url,
    fetch: engine.fetch,
    logger: quiet,
  });
  const handler = serveEdge({ client: inngest, functions: define(inngest) });
  return { engine, inngest };
}

const quiet = { info() {}, warn() {}, error() {}, debug() {} };

describe("engine in process", () => {
  it("runs a function of steps once each and keeps what it returns", async () => {
    const ran: string[] = [];
    const { engine } = setup((inngest) => [
      inngest.createFunction({ id: "f", triggers: [{ event: "a" }] }, async ({ step, event }) => {
        const one = await step.run("one", () => (ran.push("one"), Number(event.data["n"])));
        const two = await step.run("two", () => (ran.push("two"), one + 1));
        return { two };
      }),
    ]);
    await engine.send({ name: "a", data: { n: 1 } });
    await engine.settled();
    expect(engine.runs()).toMatchObject([
      { function: "app-f", status: "Completed", output: { two: 2 } },
    ]);
    expect(ran).toEqual(["one", "two"]);
  });

  it("sleeps in virtual time", async () => {
    const { engine } = setup((inngest) => [
      inngest.createFunction({ id: "f", triggers: [{ event: "a" }] }, async ({ step }) => {
        await step.run("before", () => 1);
        await step.sleep("nap", "3d");
        return step.run("after", () => 2);
      }),
    ]);
    await engine.send({ name: "a" });
    await engine.settled();
    expect(engine.runs()[0]).toMatchObject({ status: "Running" });
    await engine.advance("2d23h");
    expect(engine.runs()[0]).toMatchObject({ status: "Running" });
    await engine.advance("1h");
    expect(engine.runs()[0]).toMatchObject({ status: "Completed", output: 2 });
  });

  it("tries a failing step again after the server's backoff, and then fails the run", async () => {
    const tries: number[] = [];
    const failures: unknown[] = [];
    const { engine } = setup((inngest) => [
      inngest.createFunction(
        {
          id: "f",
          retries: 2,
          triggers: [{ event: "a" }],
          onFailure: ({ error }) => void failures.push(error.message),
        },
        async ({ step }) => {
          await step.run("s", () => {
            tries.push(engine.now());
            throw new Error("boom");
          });
        },
      ),
    ]);
    await engine.send({ name: "a" });
    await engine.advance("5m");
    expect(tries).toHaveLength(3);
    expect(tries[1]! - tries[0]!).toBeGreaterThanOrEqual(15_000);
    expect(tries[1]! - tries[0]!).toBeLessThan(45_000);
    expect(tries[2]! - tries[1]!).toBeGreaterThanOrEqual(30_000);
    expect(engine.runs({ function: "f" })).toMatchObject([
      { status: "Failed", output: { name: "Error", message: "boom" } },
    ]);
    expect(failures).toEqual(["boom"]);
    expect(engine.events({ name: "inngest/function.failed" })[0]?.data).toMatchObject({
      function_id: "app-f",
      error: { name: "Error", message: "boom" },
      event: { name: "a" },
    });
  });

  it("waits as long as Retry-After says and never retries what must not be", async () => {
    let tries = 0;
    const { engine } = setup((inngest) => [
      inngest.createFunction({ id: "later", triggers: [{ event: "a" }] }, async () => {
        tries += 1;
        if (tries === 1) throw new RetryAfterError("wait", "10m");
        return engine.now();
      }),
      inngest.createFunction({ id: "never", triggers: [{ event: "a" }] }, async () => {
        throw new NonRetriableError("no");
      }),
    ]);
    const startMs = engine.now();
    await engine.send({ name: "a" });
    await engine.settled();
    expect(engine.runs({ function: "never" })).toMatchObject([{ status: "Failed" }]);
    await engine.advance("9m");
    expect(tries).toBe(1);
    await engine.advance("2m");
    expect(engine.runs({ function: "later" })).toMatchObject([
      { status: "Completed", output: startMs + 600_000 },
    ]);
  });
});

describe("events in process", () => {
  it("starts a function once for an event id, and says why not again", async () => {
    const { engine, inngest } = setup((client) => [
      client.createFunction({ id: "f", triggers: [{ event: "a" }] }, async () => 1),
    ]);
    const first = await inngest.send({ name: "a", id: "x" });
    const second = await inngest.send({ name: "a", id: "x" });
    expect(first.ids[0]).not.toBe(second.ids[0]);
    await engine.settled();
    expect(engine.runs()).toHaveLength(1);
    expect(engine.explain(second.ids[0]!)[0]?.decisions).toMatchObject([
      { function: "app-f", outcome: "duplicate event id" },
    ]);
    await engine.advance("25h");
    await inngest.send({ name: "a", id: "x" });
    await engine.settled();
    expect(engine.runs()).toHaveLength(2);
  });

  it("sends events from steps, waits for events, invokes functions and runs steps in parallel", async () => {
    const { engine } = setup((inngest) => {
      const double = inngest.createFunction(
        { id: "double", triggers: [] },
        async ({ event }) => Number(Object(event.data)["n"]) * 2,
      );
      return [
        double,
        inngest.createFunction({ id: "f", triggers: [{ event: "a" }] }, async ({ step }) => {
          const [b, c, answer] = await Promise.all([
            step.run("b", () => "b"),
            step.run("c", () => "c"),
            step.waitForEvent("answer", {
              event: "answer",
              timeout: "1h",
              if: "async.data.id == event.data.id",
            }),
          ]);
          await step.sendEvent("tell", { name: "told", data: {} });
          const doubled = await step.invoke("double", { function: double, data: { n: 21 } });
          const late = await step.waitForEvent("late", { event: "never", timeout: "1m" });
          return { b, c, answer: Number(answer?.data["id"]), doubled, late };
        }),
      ];
    });
    await engine.send({ name: "a", data: { id: 7 } });
    await engine.settled();
    await engine.send([
      { name: "answer", data: { id: 6 } },
      { name: "answer", data: { id: 7 } },
    ]);
    await engine.settled();
    await engine.advance("2m");
    expect(engine.runs({ function: "f" })).toMatchObject([
      { status: "Completed", output: { b: "b", c: "c", answer: 7, doubled: 42, late: null } },
    ]);
    expect(engine.events({ name: "told" })).toHaveLength(1);
  });
});

describe("engine over HTTP", () => {
  it("serves an unmodified app that registers by itself", async () => {
    const engine = createEngine();
    open.push(engine);
    const { url } = await engine.listen();
    const inngest = new Inngest({ id: "web", isDev: true, baseUrl: url, logger: quiet });
    const server = createServer(
      serveNode({
        client: inngest,
        functions: [
          inngest.createFunction({ id: "f", triggers: [{ event: "a" }] }, async ({ step }) => {
            await step.run("s", () => 1);
            return step.run("t", () => 2);
          }),
        ],
      }),
    );
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    if (typeof address !== "object" || address === null) throw new Error("the app has no port");
    const app = `http://127.0.0.1:${address.port}/api/inngest`;
    const synced = await fetch(app, { method: "PUT" });
    expect(await synced.json()).toMatchObject({ modified: true });
    const { ids } = await inngest.send({ name: "a" });
    await engine.settled();
    const response = await fetch(`${url}/v1/events/${ids[0]}/runs`);
    expect(await response.json()).toMatchObject({ data: [{ status: "Completed", output: 2 }] });
    server.close();
    server.closeAllConnections();
  });
});
