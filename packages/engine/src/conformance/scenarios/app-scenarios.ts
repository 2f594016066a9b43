// oxlint-disable vitest/no-standalone-expect -- the test files of this folder run each scenario within a test
import { expect } from "vitest";

import { sdkHeaders, serveRaw } from "../raw-app.ts";
import { type Scenario, scenario } from "../scenario.ts";

const op = (fields: Record<string, unknown>) =>
  new Response(JSON.stringify([fields]), { status: 206, headers: sdkHeaders });
const result = (value: unknown) =>
  new Response(JSON.stringify(value), { status: 200, headers: sdkHeaders });

/** What an app responds with that no run can continue from, and what a failed run says of it. */
const unusable: readonly (readonly [what: string, respond: () => Response, output: RegExp])[] = [
  [
    "answers HTML with status 502",
    () =>
      new Response("<html>oops</html>", { status: 502, headers: { "content-type": "text/html" } }),
    /HTTP 502/,
  ],
  [
    "answers 200 without being an SDK",
    () => new Response("hello"),
    /hello|did not come from an Inngest SDK/,
  ],
  [
    "answers steps that are no JSON",
    () => new Response("{{{", { status: 206, headers: sdkHeaders }),
    /./,
  ],
  [
    "answers steps with an empty body",
    () => new Response("", { status: 206, headers: sdkHeaders }),
    /./,
  ],
  [
    "answers an error of its own",
    () =>
      new Response(JSON.stringify({ name: "AppError", message: "no way" }), {
        status: 500,
        headers: sdkHeaders,
      }),
    /no way/,
  ],
  [
    "breaks the connection",
    () => {
      throw new Error("the connection breaks");
    },
    /./,
  ],
];

/** The protocol towards apps, good and bad, without the SDK. */
export const appScenarios: readonly Scenario[] = [
  ...unusable.map(([what, respond, output]) =>
    scenario(`fails a run without retries whose app ${what}`, async (t) => {
      const calls = await serveRaw(t, respond);
      const [id = ""] = await t.send({ name: t.name("a") });
      const [run] = await t.ended(id);
      expect(run?.status).toBe("Failed");
      expect(JSON.stringify(run?.output)).toMatch(output);
      expect(calls).toHaveLength(1);
    }),
  ),
  scenario("calls an app again that broke the connection", async (t) => {
    const calls = await serveRaw(
      t,
      (_call, index) => {
        if (index === 1) throw new Error("the connection breaks");
        return result("second");
      },
      { retries: 2 },
    );
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id, { withinMs: 60_000 });
    expect(run).toMatchObject({ status: "Completed", output: "second" });
    expect(calls.map((call) => Object(call.body["ctx"])["attempt"])).toEqual([0, 1]);
  }),
  scenario("fails a run at once where the answer forbids another try", async (t) => {
    const calls = await serveRaw(
      t,
      () =>
        new Response(JSON.stringify({ name: "E", message: "final" }), {
          status: 400,
          headers: { ...sdkHeaders, "x-inngest-no-retry": "true" },
        }),
      { retries: 5 },
    );
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run?.status).toBe("Failed");
    expect(calls).toHaveLength(1);
  }),
  scenario("waits as long as Retry-After says, in seconds or as a time", async (t) => {
    const at: number[] = [];
    await serveRaw(
      t,
      (_call, index) => {
        at.push(t.now());
        const waits = ["3", new Date(t.now() + 3_000).toISOString()];
        const wait = waits[index - 1];
        return wait === undefined
          ? result("third")
          : new Response(JSON.stringify({ name: "E", message: "later" }), {
              status: 500,
              headers: { ...sdkHeaders, "retry-after": wait },
            });
      },
      { retries: 3 },
    );
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run).toMatchObject({ status: "Completed", output: "third" });
    for (const index of [1, 2]) {
      const waitedMs = (at[index] ?? 0) - (at[index - 1] ?? 0);
      expect(waitedMs).toBeGreaterThanOrEqual(1_900);
      expect(waitedMs).toBeLessThan(14_000);
    }
  }),
  scenario("sends the events, the context and the steps with every call", async (t) => {
    const calls = await serveRaw(t, (_call, index) =>
      index === 1
        ? op({ op: "StepRun", id: "aa", name: "one", displayName: "one", data: { n: 1 } })
        : result("done"),
    );
    const [id = ""] = await t.send({ name: t.name("a"), data: { x: 1 } });
    const [run] = await t.ended(id);
    expect(calls[0]?.body).toMatchObject({
      event: { name: t.name("a"), data: { x: 1 } },
      events: [{ name: t.name("a") }],
      steps: {},
      ctx: { run_id: run?.run_id, attempt: 0, stack: { stack: [], current: 0 } },
    });
    expect(calls[1]?.body).toMatchObject({
      steps: { aa: { data: { n: 1 } } },
      ctx: { run_id: run?.run_id, stack: { stack: ["aa"], current: 1 } },
    });
    expect(calls[0]?.url.searchParams.get("fnId")).toBe(`${t.id}-f`);
    expect(calls[0]?.url.searchParams.get("stepId")).toBe("step");
    expect(calls[0]?.headers.get("x-run-id")).toBe(run?.run_id);
    expect(calls[0]?.headers.get("x-inngest-req-version")).toBe("-1");
    expect(calls[0]?.headers.has("x-inngest-server-kind")).toBe(false);
  }),
  scenario("asks for a planned step by its id", async (t) => {
    const calls = await serveRaw(t, (call, index) => {
      if (index === 1) return op({ op: "StepPlanned", id: "aa", name: "one", displayName: "one" });
      if (call.url.searchParams.get("stepId") === "aa") {
        return op({ op: "StepRun", id: "aa", name: "one", displayName: "one", data: 1 });
      }
      return result("done");
    });
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run).toMatchObject({ status: "Completed", output: "done" });
    expect(calls.map((call) => call.url.searchParams.get("stepId"))).toEqual([
      "step",
      "aa",
      "step",
    ]);
  }),
  scenario("hands a failed step on as an error", async (t) => {
    const calls = await serveRaw(t, (_call, index) =>
      index === 1
        ? op({
            op: "StepFailed",
            id: "aa",
            name: "one",
            displayName: "one",
            error: { name: "E", message: "m" },
          })
        : result("recovered"),
    );
    const [id = ""] = await t.send({ name: t.name("a") });
    await t.ended(id);
    expect(calls[1]?.body["steps"]).toMatchObject({ aa: { error: { name: "E", message: "m" } } });
  }),
  scenario("takes a function's result of any kind", async (t) => {
    const values: unknown[] = [null, 0, false, "text", [1, "two"], { deep: { er: 1 } }];
    await serveRaw(t, (call) => result(values[Number(Object(call.body["event"]).data["n"])]));
    const ids = await t.send(values.map((_value, n) => ({ name: t.name("a"), data: { n } })));
    const outputs: unknown[] = [];
    for (const id of ids) outputs.push((await t.ended(id))[0]?.output);
    expect(outputs.slice(1)).toEqual(values.slice(1));
  }),
  scenario("ends a run that the app says is complete", async (t) => {
    await serveRaw(t, () => op({ op: "RunComplete", id: "cc", name: "", data: { ok: true } }));
    const [id = ""] = await t.send({ name: t.name("a") });
    expect(await t.ended(id)).toMatchObject([{ status: "Completed" }]);
  }),
];
