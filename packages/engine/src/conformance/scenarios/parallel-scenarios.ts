// oxlint-disable vitest/no-standalone-expect -- the test files of this folder run each scenario within a test
import { expect } from "vitest";

import { sdkHeaders, serveRaw } from "../raw-app.ts";
import { type Scenario, scenario } from "../scenario.ts";

/** A response that asks for steps, or that reports them. */
const ops = (...list: Record<string, unknown>[]) =>
  new Response(JSON.stringify(list), { status: 206, headers: sdkHeaders });
const done = () => new Response(JSON.stringify("done"), { status: 200, headers: sdkHeaders });
const planned = (id: string) => ({ op: "StepPlanned", id, name: id, displayName: id });
const ran = (id: string) => ({ op: "StepRun", id, name: id, displayName: id, data: id });
const sleep = (id: string, duration: string) => ({ op: "Sleep", id, name: duration, opts: {} });

/** Steps that run beside each other. */
export const parallelScenarios: readonly Scenario[] = [
  scenario("runs parallel steps once each and continues when all are done", async (t) => {
    const ran: string[] = [];
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, async ({ step }) => {
        const all = await Promise.all(
          ["x", "y", "z"].map((name) => step.run(name, () => (ran.push(name), name))),
        );
        return step.run("join", () => (ran.push("join"), all.join("")));
      }),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run).toMatchObject({ status: "Completed", output: "xyz" });
    expect(ran.toSorted()).toEqual(["join", "x", "y", "z"]);
    expect(ran.at(-1)).toBe("join");
  }),
  scenario("runs parallel branches of several steps", async (t) => {
    const ran: string[] = [];
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, async ({ step }) => {
        const branch = async (name: string) => {
          const first = await step.run(`${name}1`, () => (ran.push(`${name}1`), 1));
          await step.sleep(`${name} nap`, "1s");
          return step.run(`${name}2`, () => (ran.push(`${name}2`), first + 1));
        };
        const found = await Promise.all([branch("x"), branch("y")]);
        return found;
      }),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run?.output).toEqual([2, 2]);
    expect(ran.toSorted()).toEqual(["x1", "x2", "y1", "y2"]);
  }),
  scenario("lets steps of every kind run beside each other", async (t) => {
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, async ({ step }) => {
        const [ran, got] = await Promise.all([
          step.run("work", () => "worked"),
          step.waitForEvent("wait", { event: t.name("never"), timeout: "1s" }),
          step.sleep("nap", "1s"),
          step.sendEvent("tell", { name: t.name("told") }),
        ]);
        return { ran, got };
      }),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run?.output).toEqual({ ran: "worked", got: null });
  }),
  scenario("lets the other branches end where one fails", async (t) => {
    const ran: string[] = [];
    await t.serve([
      t.client.createFunction(
        { id: "f", retries: 0, triggers: [{ event: t.name("a") }] },
        async ({ step }) => {
          const settled = await Promise.allSettled([
            step.run("good", () => (ran.push("good"), "good")),
            step.run("bad", () => {
              ran.push("bad");
              throw new Error("bad");
            }),
          ]);
          return settled.map((each) => each.status);
        },
      ),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run?.output).toEqual(["fulfilled", "rejected"]);
    expect(ran.toSorted()).toEqual(["bad", "good"]);
  }),
  scenario("lets the faster of two branches win a race", async (t) => {
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, async ({ step }) => {
        const winner = await Promise.race([
          step.sleep("slow", "5s").then(() => "slow"),
          step.sleep("fast", "1s").then(() => "fast"),
        ]);
        await step.run("after", () => 1);
        return winner;
      }),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run?.output).toBe("fast");
  }),
  scenario("joins a hundred parallel steps", async (t) => {
    let ran = 0;
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, async ({ step }) => {
        const all = await Promise.all(
          Array.from({ length: 100 }, (_value, index) =>
            step.run(`s${index}`, () => ((ran += 1), index)),
          ),
        );
        return all.reduce((sum, n) => sum + n, 0);
      }),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id, { withinMs: 60_000 });
    expect(run?.output).toBe(4_950);
    expect(ran).toBe(100);
  }),
  scenario("lets an app plan until all of a group is done, where a step ends last", async (t) => {
    const calls = await serveRaw(t, (call) => {
      const stepId = call.url.searchParams.get("stepId") ?? "";
      if (stepId !== "step") return ops(ran(stepId));
      return Object.keys(Object(call.body["steps"])).length === 2
        ? done()
        : ops(planned("aa"), planned("bb"));
    });
    const [id = ""] = await t.send({ name: t.name("a") });
    await t.ended(id);
    const plans = calls.map((call) => Object(call.body["ctx"])["disable_immediate_execution"]);
    expect(plans).toEqual([false, true, true, false]);
  }),
  scenario("lets an app plan in the request that ends a group's last sleep", async (t) => {
    const calls = await serveRaw(t, (call) => {
      const stepId = call.url.searchParams.get("stepId") ?? "";
      if (stepId !== "step") return ops(ran(stepId));
      const known = Object.keys(Object(call.body["steps"]));
      if (known.length === 0) return ops(planned("aa"), sleep("bb", "2s"));
      if (!known.includes("cc")) return ops(planned("cc"));
      return known.includes("dd") ? done() : ops(ran("dd"));
    });
    const [id = ""] = await t.send({ name: t.name("a") });
    await t.ended(id);
    const plans = calls.map((call) => Object(call.body["ctx"])["disable_immediate_execution"]);
    // The start, the step, the end of the sleep, the step that it plans, and what follows.
    expect(plans).toEqual([false, true, true, false, false, false]);
  }),
  scenario("keeps no plan from a group that follows a group's last sleep", async (t) => {
    const calls = await serveRaw(t, (call) => {
      const stepId = call.url.searchParams.get("stepId") ?? "";
      if (stepId !== "step") return ops(ran(stepId));
      const known = Object.keys(Object(call.body["steps"]));
      if (known.length === 0) return ops(planned("aa"), sleep("bb", "2s"));
      if (known.length < 4) return ops(planned("cc"), planned("dd"));
      return done();
    });
    const [id = ""] = await t.send({ name: t.name("a") });
    await t.ended(id);
    const plans = calls.map((call) => Object(call.body["ctx"])["disable_immediate_execution"]);
    expect(plans).toEqual([false, true, true, false, false, false]);
  }),
];
