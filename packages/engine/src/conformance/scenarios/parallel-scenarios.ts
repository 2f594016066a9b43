// oxlint-disable vitest/no-standalone-expect -- the test files of this folder run each scenario within a test
import { expect } from "vitest";

import { type Scenario, scenario } from "../scenario.ts";

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
];
