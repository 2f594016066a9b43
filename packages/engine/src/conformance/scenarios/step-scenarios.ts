// oxlint-disable vitest/no-standalone-expect -- the test files of this folder run each scenario within a test
import { expect } from "vitest";

import { type Scenario, scenario } from "../scenario.ts";

/** Steps that work or wait by themselves. */
export const stepScenarios: readonly Scenario[] = [
  scenario("runs each step once and hands its result to the next request", async (t) => {
    const ran: string[] = [];
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, async ({ step }) => {
        const one = await step.run("one", () => (ran.push("one"), { n: 1 }));
        await step.sleep("nap", "1s");
        const two = await step.run("two", () => (ran.push("two"), one.n + 1));
        return { one, two };
      }),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run).toMatchObject({ status: "Completed", output: { one: { n: 1 }, two: 2 } });
    expect(ran).toEqual(["one", "two"]);
  }),
  scenario("hands a step's result on as JSON", async (t) => {
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, async ({ step }) => {
        const nothing = await step.run("nothing", () => undefined);
        const day = await step.run("day", () => ({ at: new Date(0), none: undefined }));
        await step.sleep("nap", "1s");
        return { nothing: nothing === undefined ? "undefined" : nothing, day };
      }),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run?.output).toEqual({ nothing: null, day: { at: "1970-01-01T00:00:00.000Z" } });
  }),
  scenario("tells steps of one id apart by their order", async (t) => {
    const ran: number[] = [];
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, async ({ step }) => {
        const found: number[] = [];
        for (const n of [1, 2, 3]) {
          found.push(
            await step.run("same", () => {
              ran.push(n);
              return n;
            }),
          );
        }
        return found;
      }),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run?.output).toEqual([1, 2, 3]);
    expect(ran).toEqual([1, 2, 3]);
  }),
  scenario("completes a function without steps", async (t) => {
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, () => "done"),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    expect(await t.ended(id)).toMatchObject([{ status: "Completed", output: "done" }]);
  }),
  scenario("sleeps for a duration", async (t) => {
    const at: number[] = [];
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, async ({ step }) => {
        await step.run("before", () => void at.push(t.now()));
        await step.sleep("nap", "2s");
        await step.run("after", () => void at.push(t.now()));
      }),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    await t.ended(id);
    expect((at[1] ?? 0) - (at[0] ?? 0)).toBeGreaterThanOrEqual(1_990);
  }),
  scenario("sleeps until a time, and not at all until one that is past", async (t) => {
    const at: number[] = [];
    const untilMs = Math.ceil(t.now() / 1_000) * 1_000 + 3_000;
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, async ({ step }) => {
        await step.sleepUntil("until", new Date(untilMs));
        await step.run("then", () => void at.push(t.now()));
        await step.sleepUntil("past", new Date(untilMs - 60_000));
        await step.run("at once", () => void at.push(t.now()));
      }),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    await t.ended(id);
    // The real server wakes a run a little early.
    expect(at[0]).toBeGreaterThanOrEqual(untilMs - 1_000);
    expect((at[1] ?? 0) - (at[0] ?? 0)).toBeLessThan(20_000);
  }),
  scenario("sends events from a step once, and answers their ids", async (t) => {
    const seen: unknown[] = [];
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, async ({ step }) => {
        const sent = await step.sendEvent("tell", [
          { name: t.name("b"), data: { n: 1 } },
          { name: t.name("b"), data: { n: 2 } },
        ]);
        await step.sleep("nap", "1s");
        return sent.ids.length;
      }),
      t.client.createFunction({ id: "g", triggers: [{ event: t.name("b") }] }, ({ event }) => {
        seen.push(event.data["n"]);
      }),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run?.output).toBe(2);
    await t.until(() => (seen.length >= 2 ? true : undefined), 10_000);
    expect(new Set(seen)).toEqual(new Set([1, 2]));
  }),
  scenario("hands a step the failure of the request that it asked for", async (t) => {
    await t.serve([
      t.client.createFunction(
        { id: "f", retries: 0, triggers: [{ event: t.name("a") }] },
        async ({ step }) => {
          const response = await step
            .fetch("http://127.0.0.1:1/nobody")
            .catch((error: unknown) => ({
              failed: error instanceof Error,
            }));
          return "failed" in response ? "failed" : "answered";
        },
      ),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run).toMatchObject({ status: "Completed", output: "failed" });
  }),
  scenario("keeps a state larger than a request", async (t) => {
    const ran: string[] = [];
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, async ({ step }) => {
        const sizes: number[] = [];
        for (const part of ["p1", "p2", "p3"]) {
          const text = await step.run(part, () => (ran.push(part), "x".repeat(1_800_000)));
          sizes.push(text.length);
        }
        await step.sleep("nap", "1s");
        return sizes;
      }),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id, { withinMs: 60_000 });
    expect(run).toMatchObject({ status: "Completed", output: [1_800_000, 1_800_000, 1_800_000] });
    expect(ran).toEqual(["p1", "p2", "p3"]);
  }),
  scenario("fails a run whose step answers more than four megabytes", async (t) => {
    await t.serve([
      t.client.createFunction(
        { id: "f", retries: 0, triggers: [{ event: t.name("a") }] },
        async ({ step }) => {
          const text = await step.run("large", () => "x".repeat(4_500_000));
          await step.sleep("nap", "1s");
          return text.length;
        },
      ),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id, { withinMs: 60_000 });
    expect(run?.status).toBe("Failed");
  }),
];
