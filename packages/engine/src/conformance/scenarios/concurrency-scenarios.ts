// oxlint-disable vitest/no-standalone-expect -- the test files of this folder run each scenario within a test
import { expect } from "vitest";

import { type Scenario, type ScenarioContext, manyEvents, scenario } from "../scenario.ts";

/** Counts how many are at work at once. */
function createGauge(t: ScenarioContext) {
  let present = 0;
  let most = 0;
  return {
    most: () => most,
    async work(): Promise<void> {
      present += 1;
      most = Math.max(most, present);
      await t.work();
      present -= 1;
    },
  };
}

/** How many requests are at work at once, and which run goes first. */
export const concurrencyScenarios: readonly Scenario[] = [
  scenario("lets one step at a time run under a concurrency of one", async (t) => {
    const gauge = createGauge(t);
    await t.serve([
      t.client.createFunction(
        { id: "f", concurrency: 1, triggers: [{ event: t.name("a") }] },
        async ({ step }) => {
          await step.run("s", () => gauge.work());
        },
      ),
    ]);
    const ids = await t.send(manyEvents(t, 4, () => ({})));
    for (const id of ids) await t.ended(id, { withinMs: 60_000 });
    expect(gauge.most()).toBe(1);
  }),
  scenario("counts a concurrency per key", async (t) => {
    const gauges = { x: createGauge(t), y: createGauge(t) };
    const both = createGauge(t);
    await t.serve([
      t.client.createFunction(
        {
          id: "f",
          concurrency: { limit: 1, key: "event.data.key" },
          triggers: [{ event: t.name("a") }],
        },
        async ({ step, event }) => {
          const gauge = event.data["key"] === "x" ? gauges.x : gauges.y;
          await step.run("s", async () => void (await Promise.all([gauge.work(), both.work()])));
        },
      ),
    ]);
    const ids = await t.send(manyEvents(t, 6, (index) => ({ key: index % 2 === 0 ? "x" : "y" })));
    for (const id of ids) await t.ended(id, { withinMs: 60_000 });
    expect([gauges.x.most(), gauges.y.most(), both.most()]).toEqual([1, 1, 2]);
  }),
  scenario("releases a concurrency slot while a run sleeps", async (t) => {
    const order: string[] = [];
    await t.serve([
      t.client.createFunction(
        { id: "f", concurrency: 1, triggers: [{ event: t.name("a") }] },
        async ({ step, event }) => {
          await step.run("before", () => void order.push(`before ${event.data["n"]}`));
          await step.sleep("nap", "3s");
          await step.run("after", () => void order.push(`after ${event.data["n"]}`));
        },
      ),
    ]);
    const ids = await t.send(manyEvents(t, 2, (n) => ({ n })));
    for (const id of ids) await t.ended(id, { withinMs: 60_000 });
    expect(order.slice(0, 2).every((each) => each.startsWith("before"))).toBe(true);
  }),
  scenario("shares a concurrency between functions by its scope", async (t) => {
    const gauge = createGauge(t);
    const concurrency = { scope: "env", key: `"${t.id}"`, limit: 1 } as const;
    await t.serve(
      ["f", "g"].map((id) =>
        t.client.createFunction(
          { id, concurrency, triggers: [{ event: t.name("a") }] },
          async ({ step }) => {
            await step.run("s", () => gauge.work());
          },
        ),
      ),
    );
    const ids = await t.send(manyEvents(t, 2, () => ({})));
    for (const id of ids) await t.ended(id, { count: 2, withinMs: 60_000 });
    expect(gauge.most()).toBe(1);
  }),
  scenario("lets a run of higher priority go first", async (t) => {
    const order: unknown[] = [];
    let release: (() => void) | undefined;
    const isReleased = new Promise<void>((resolve) => (release = resolve));
    await t.serve([
      t.client.createFunction(
        {
          id: "f",
          concurrency: 1,
          priority: { run: "event.data.p == 'high' ? 100 : event.data.p == 'low' ? -1 : 0" },
          triggers: [{ event: t.name("a") }],
        },
        async ({ event }) => {
          order.push(event.data["p"]);
          if (order.length === 1) await isReleased;
        },
      ),
    ]);
    await t.client.send({ name: t.name("a"), data: { p: "first" } });
    for (let turn = 0; turn < 10 && order.length === 0; turn += 1) await t.work();
    await t.client.send([
      { name: t.name("a"), data: { p: "low" } },
      { name: t.name("a"), data: { p: "high" } },
    ]);
    for (let turn = 0; turn < 10; turn += 1) await t.work();
    release?.();
    await t.until(() => (order.length === 3 ? true : undefined), 30_000);
    expect(order).toEqual(["first", "high", "low"]);
  }),
  scenario("delays a run of negative priority by as many seconds", async (t) => {
    const at: Record<string, number> = {};
    await t.serve([
      t.client.createFunction(
        {
          id: "f",
          priority: { run: "event.data.p == 'low' ? -4 : 0" },
          triggers: [{ event: t.name("a") }],
        },
        ({ event }) => {
          at[String(event.data["p"])] = t.now();
        },
      ),
    ]);
    const sentAtMs = t.now();
    await t.send([
      { name: t.name("a"), data: { p: "low" } },
      { name: t.name("a"), data: { p: "mid" } },
    ]);
    await t.until(() => (Object.keys(at).length === 2 ? true : undefined), 20_000);
    expect((at["low"] ?? 0) - sentAtMs).toBeGreaterThanOrEqual(3_500);
    expect(at["mid"]).toBeLessThan(at["low"] ?? 0);
  }),
];
