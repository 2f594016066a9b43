import { describe, expect, it } from "vitest";

import { createSdkApp } from "../testing/sdk-app.ts";

function setup() {
  const app = createSdkApp((inngest) => [
    inngest.createFunction({ id: "f", triggers: [{ event: "a" }] }, async ({ step }) => {
      await step.sleep("nap", "1h");
    }),
  ]);
  const ask = async (method: string, path: string, body?: unknown) => {
    const response = await app.engine.fetch(`${app.engine.url}${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    // oxlint-disable-next-line typescript/no-unsafe-assignment -- the shape is what the test asserts
    const json: { data: { id: string } | { id: string }[] | null; error?: string } = JSON.parse(
      await response.text(),
    );
    return { status: response.status, ...json };
  };
  const before = () => new Date(app.engine.now()).toISOString();
  return { ...app, ask, before };
}

describe("bulk cancellation", () => {
  it.each(["f", "app-f"])("cancels the runs of %s that were queued in a time", async (id) => {
    const t = setup();
    await t.engine.send({ name: "a", data: { n: 1 } });
    await t.engine.advance("10m");
    const between = t.before();
    await t.engine.advance("1m");
    await t.engine.send({ name: "a", data: { n: 2 } });
    await t.engine.settled();
    const { status } = await t.ask("POST", "/v1/cancellations", {
      app_id: "app",
      function_id: id,
      started_before: between,
    });
    expect(status).toBe(200);
    expect(t.engine.runs().map((run) => run.status)).toEqual(["Cancelled", "Running"]);
  });

  it("cancels only the runs whose event meets a condition", async () => {
    const t = setup();
    await t.engine.send([1, 2].map((n) => ({ name: "a", data: { n } })));
    await t.engine.settled();
    await t.ask("POST", "/v1/cancellations", {
      app_id: "app",
      function_id: "f",
      started_before: t.before(),
      if: "event.data.n == 2",
    });
    const statuses = t.engine.runs().map((run) => run.status);
    expect(statuses).toEqual(["Running", "Cancelled"]);
  });

  it("lists cancellations and forgets one", async () => {
    const t = setup();
    await t.engine.settled();
    await t.ask("POST", "/v1/cancellations", {
      app_id: "app",
      function_id: "f",
      started_before: t.before(),
    });
    const { data } = await t.ask("GET", "/v1/cancellations");
    const [cancellation] = Array.isArray(data) ? data : [];
    const path = `/v1/cancellations/${cancellation?.id ?? ""}`;
    expect((await t.ask("DELETE", path)).status).toBe(200);
    expect((await t.ask("DELETE", path)).status).toBe(404);
    expect((await t.ask("GET", "/v1/cancellations")).data).toEqual([]);
  });

  it("answers 404 for an unknown function and 400 for a condition that is no CEL", async () => {
    const t = setup();
    await t.engine.settled();
    const body = { app_id: "app", function_id: "f", started_before: t.before() };
    const unknown = await t.ask("POST", "/v1/cancellations", { ...body, function_id: "none" });
    expect(unknown).toMatchObject({ status: 404, error: "function not found" });
    const invalid = await t.ask("POST", "/v1/cancellations", { ...body, if: "event.data.x ==" });
    expect(invalid.status).toBe(400);
  });
});
