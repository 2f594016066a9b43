import { describe, expect, it } from "vitest";

import { createEngine } from "../engine.ts";
import { virtualClock } from "../time/clock.ts";

const fn = (fields: Record<string, unknown>) => ({
  id: "app-f",
  name: "f",
  triggers: [{ event: "a" }],
  steps: { step: { id: "step", runtime: { type: "http", url: "http://app.invalid/api/inngest" } } },
  ...fields,
});

function setup() {
  const engine = createEngine({ clock: virtualClock() });
  const register = async (body: unknown) => {
    const response = await engine.fetch(`${engine.url}/fn/register`, {
      method: "POST",
      body: typeof body === "string" ? body : JSON.stringify(body),
    });
    const json: unknown = await response.json();
    return { status: response.status, json };
  };
  const app = (...functions: unknown[]) => ({
    appName: "app",
    url: "http://app.invalid",
    functions,
  });
  return { engine, register, app };
}

describe("registration", () => {
  it("takes an app in, and says when nothing has changed", async () => {
    const { register, app } = setup();
    expect(await register(app(fn({})))).toMatchObject({ status: 200, json: { modified: true } });
    expect(await register(app(fn({})))).toMatchObject({ status: 200, json: { modified: false } });
  });

  it.each([
    [
      "a function of two steps",
      { steps: { a: fn({}).steps.step, b: fn({}).steps.step } },
      "one step",
    ],
    ["an invalid cron", { triggers: [{ cron: "often" }] }, "isn't a valid cron schedule"],
    ["an invalid condition", { triggers: [{ event: "a", expression: "x ==" }] }, "is invalid"],
    ["a trigger without an event", { triggers: [{ event: "" }] }, "must specify an event name"],
    ["too short a debounce", { debounce: { period: "10ms" } }, "less than the min of: 1s"],
    [
      "too small a batch",
      { batchEvents: { maxSize: 1, timeout: "5s" } },
      "cannot be smaller than 2",
    ],
    [
      "a batch that is debounced",
      { batchEvents: { maxSize: 2, timeout: "5s" }, debounce: { period: "5s" } },
      "mutually exclusive",
    ],
    [
      "an unkeyed limit of the environment",
      { concurrency: [{ limit: 1, scope: "env" }] },
      "key must",
    ],
    [
      "three concurrency limits",
      { concurrency: [{ limit: 1 }, { limit: 2 }, { limit: 3 }] },
      "max of: 2",
    ],
    ["a rate limit of none", { rateLimit: { limit: 0, period: "1m" } }, "greater than 0"],
  ])("refuses %s and names the reason", async (_what, fields, reason) => {
    const { engine, register, app } = setup();
    const { status, json } = await register(app(fn(fields)));
    expect(status).toBe(400);
    expect(JSON.stringify(json)).toContain(reason);
    expect(engine.journal().map((entry) => entry.event)).toContain("app.refused");
  });

  it.each(["{{{", "[]", '{"functions":[]}'])("refuses %s", async (body) => {
    const { register } = setup();
    expect((await register(body)).status).toBe(400);
  });

  it("keeps an app as it was when its next registration is invalid", async () => {
    const { engine, register, app } = setup();
    await register(app(fn({})));
    await register(app(fn({ triggers: [{ cron: "often" }] })));
    const { ids } = await engine.send({ name: "a" });
    expect(engine.explain(ids[0] ?? "")[0]?.decisions).toMatchObject([{ outcome: "started" }]);
    await engine.close();
  });

  it.each([
    ["HTML", () => new Response("<html></html>"), /did not answer as an Inngest serve endpoint/],
    ["an error", () => Response.json({ message: "no key" }, { status: 500 }), /HTTP 500: no key/],
    [
      "an unreadable registration",
      () => Response.json([], { headers: { "x-inngest-sync-kind": "in_band" } }),
      /unreadable registration/,
    ],
  ])("refuses a handler that answers %s", async (_what, handler, message) => {
    const { engine } = setup();
    await expect(engine.register(handler)).rejects.toThrow(message);
  });
});
