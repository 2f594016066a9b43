// oxlint-disable vitest/no-standalone-expect -- the test files of this folder run each scenario within a test
import { expect } from "vitest";

import { type RawCall, sdkHeaders, serveRaw } from "../raw-app.ts";
import { type Scenario, type ScenarioContext, scenario } from "../scenario.ts";

const ops = (...list: Record<string, unknown>[]) =>
  new Response(JSON.stringify(list), { status: 206, headers: sdkHeaders });
const done = (value: unknown = "done") =>
  new Response(JSON.stringify(value), { status: 200, headers: sdkHeaders });
const ran = (id: string) => ({ op: "StepRun", id, name: id, displayName: id, data: id });
const of = (op: string, id: string) => ({ op, id, name: id, displayName: id });

/** A step that an app defers, which a server may know nothing to do with. */
const deferred = { ...of("DeferAdd", "dd"), opts: { fn_slug: "none", input: {} } };

/** Reports steps as done in the midst of a call, as the SDK does. */
function checkpoint(t: ScenarioContext, call: RawCall, steps: unknown[]) {
  const ctx: Record<string, unknown> = Object(call.body["ctx"]);
  return t.ask("POST", `/v1/checkpoint/${String(ctx["run_id"])}/async`, {
    run_id: ctx["run_id"],
    fn_id: ctx["fn_id"],
    qi_id: ctx["qi_id"],
    request_id: ctx["request_id"],
    generation_id: ctx["generation_id"],
    steps,
  });
}

const memoized = (call: RawCall | undefined) => Object.keys(Object(call?.body["steps"]));

/** Checkpoints: their steps, the status of the answer, and which steps the next call brings. */
const checkpoints: readonly (readonly [
  what: string,
  steps: Record<string, unknown>[],
  status: number,
  kept: string[],
])[] = [
  [
    "takes a checkpoint's steps, planned ones too",
    [of("StepPlanned", "aa"), ran("aa")],
    200,
    ["aa"],
  ],
  ["takes a checkpoint's steps beside one that is deferred", [ran("aa"), deferred], 200, ["aa"]],
  [
    "takes a checkpoint's steps beside one whose deferral is called off",
    [of("DeferAbort", "dd"), ran("aa")],
    200,
    ["aa"],
  ],
  [
    "keeps a checkpoint's steps before a failed one, which it refuses",
    [ran("aa"), { ...of("StepFailed", "bb"), error: { name: "E", message: "m" } }, ran("cc")],
    400,
    ["aa"],
  ],
  ["keeps nothing of a checkpoint that waits", [ran("aa"), of("Sleep", "bb")], 400, []],
  ["keeps nothing of a checkpoint in unknown words", [ran("aa"), of("Ponder", "bb")], 400, []],
];

/** What an app may name as a step, and what no server knows. */
export const opcodeScenarios: readonly Scenario[] = [
  scenario("calls an app again that names a step of no known kind", async (t) => {
    const calls = await serveRaw(
      t,
      (_call, index) => (index === 1 ? ops(of("Ponder", "aa")) : done()),
      { retries: 1 },
    );
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id, { withinMs: 60_000 });
    expect(run).toMatchObject({ status: "Completed", output: "done" });
    expect(calls.map((call) => Object(call.body["ctx"])["attempt"])).toEqual([0, 1]);
  }),
  scenario("fails a run without retries whose app names a step of no known kind", async (t) => {
    const calls = await serveRaw(t, () => ops(of("Ponder", "aa")));
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run?.status).toBe("Failed");
    expect(JSON.stringify(run?.output)).toContain("Ponder");
    expect(calls).toHaveLength(1);
  }),
  scenario("reads the kind of a step in small letters too", async (t) => {
    await serveRaw(t, (_call, index) =>
      index === 1 ? ops({ ...ran("aa"), op: "steprun" }) : done(),
    );
    const [id = ""] = await t.send({ name: t.name("a") });
    expect(await t.ended(id)).toMatchObject([{ status: "Completed", output: "done" }]);
  }),
  scenario("goes on with a run that defers a function beside a step", async (t) => {
    const calls = await serveRaw(t, (_call, index) =>
      index === 1 ? ops(ran("aa"), deferred) : done(),
    );
    const [id = ""] = await t.send({ name: t.name("a") });
    expect(await t.ended(id)).toMatchObject([{ status: "Completed", output: "done" }]);
    expect(memoized(calls[1])).toEqual(["aa"]);
  }),
  scenario("ends a run that defers a function as it ends", async (t) => {
    await serveRaw(t, () => ops(deferred, { ...of("RunComplete", "cc"), data: { ok: true } }));
    const [id = ""] = await t.send({ name: t.name("a") });
    expect(await t.ended(id)).toMatchObject([{ status: "Completed" }]);
  }),
  ...checkpoints.map(([what, steps, status, kept]) =>
    scenario(what, async (t) => {
      const answers: number[] = [];
      const calls = await serveRaw(t, async (call, index) => {
        if (index === 2) return done();
        answers.push((await checkpoint(t, call, steps)).status);
        return ops(ran("zz"));
      });
      const [id = ""] = await t.send({ name: t.name("a") });
      expect(await t.ended(id)).toMatchObject([{ status: "Completed" }]);
      expect(answers).toEqual([status]);
      expect(memoized(calls[1]).toSorted()).toEqual([...kept, "zz"]);
    }),
  ),
];
