// oxlint-disable vitest/no-standalone-expect -- the test files of this folder run each scenario within a test
import { expect } from "vitest";
import { type Scenario, type ScenarioContext, scenario } from "../scenario.ts";

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

const many = (
  t: ScenarioContext,
  count: number,
  data: (index: number) => Record<string, unknown>,
) => Array.from({ length: count }, (_value, index) => ({ name: t.name("a"), data: data(index) }));

/** How many runs start, how many at once, and which. */
export const flowScenarios: readonly Scenario[] = [
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
    const ids = await t.send(many(t, 4, () => ({})));
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
    const ids = await t.send(many(t, 6, (index) => ({ key: index % 2 === 0 ? "x" : "y" })));
    for (const id of ids) await t.ended(id, { withinMs: 60_000 });
    expect([gauges.x.most(), gauges.y.most(), both.most()]).toEqual([1, 1, 2]);
  }),
  scenario("gives a place under a concurrency limit up while a run sleeps", async (t) => {
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
    const ids = await t.send(many(t, 2, (n) => ({ n })));
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
    const ids = await t.send(many(t, 2, () => ({})));
    for (const id of ids) await t.ended(id, { count: 2, withinMs: 60_000 });
    expect(gauge.most()).toBe(1);
  }),
  scenario("spreads starts out by a throttle and drops none", async (t) => {
    const at: number[] = [];
    await t.serve([
      t.client.createFunction(
        { id: "f", throttle: { limit: 1, period: "2s" }, triggers: [{ event: t.name("a") }] },
        () => {
          at.push(t.now());
        },
      ),
    ]);
    const ids = await t.send(many(t, 3, () => ({})));
    for (const id of ids) await t.ended(id, { withinMs: 60_000 });
    expect(at).toHaveLength(3);
    expect((at[2] ?? 0) - (at[0] ?? 0)).toBeGreaterThanOrEqual(2_500);
  }),
  scenario("lets a throttle's limit and burst through at once", async (t) => {
    const at: number[] = [];
    await t.serve([
      t.client.createFunction(
        {
          id: "f",
          throttle: { limit: 2, burst: 1, period: "30s" },
          triggers: [{ event: t.name("a") }],
        },
        () => {
          at.push(t.now());
        },
      ),
    ]);
    await t.send(many(t, 5, () => ({})));
    await t.until(() => (at.length >= 3 ? true : undefined), 10_000);
    await t.pass(2_000);
    expect(at).toHaveLength(3);
  }),
  scenario("drops events beyond a rate limit", async (t) => {
    let runs = 0;
    await t.serve([
      t.client.createFunction(
        { id: "f", rateLimit: { limit: 1, period: "10m" }, triggers: [{ event: t.name("a") }] },
        () => {
          runs += 1;
        },
      ),
    ]);
    const [first = ""] = await t.send({ name: t.name("a") });
    await t.ended(first);
    await t.send(many(t, 3, () => ({})));
    await t.pass(1_500);
    expect(runs).toBe(1);
  }),
  scenario("counts a rate limit per key", async (t) => {
    const ran: unknown[] = [];
    await t.serve([
      t.client.createFunction(
        {
          id: "f",
          rateLimit: { limit: 1, period: "10m", key: "event.data.key" },
          triggers: [{ event: t.name("a") }],
        },
        ({ event }) => {
          ran.push(event.data["key"]);
        },
      ),
    ]);
    await t.send(many(t, 4, (index) => ({ key: index % 2 === 0 ? "x" : "y" })));
    await t.until(() => (ran.length >= 2 ? true : undefined), 10_000);
    await t.pass(1_000);
    expect(new Set(ran)).toEqual(new Set(["x", "y"]));
  }),
  scenario("starts a debounced function once, with the last event", async (t) => {
    const ran: unknown[] = [];
    await t.serve([
      t.client.createFunction(
        { id: "f", debounce: { period: "2s" }, triggers: [{ event: t.name("a") }] },
        ({ event }) => {
          ran.push(event.data["n"]);
        },
      ),
    ]);
    for (const n of [1, 2, 3]) {
      await t.send({ name: t.name("a"), data: { n } });
      await t.pass(300);
    }
    await t.until(() => (ran.length > 0 ? true : undefined), 20_000);
    await t.pass(3_000);
    expect(ran).toEqual([3]);
  }),
  scenario("debounces each key by itself", async (t) => {
    const ran: unknown[] = [];
    await t.serve([
      t.client.createFunction(
        {
          id: "f",
          debounce: { period: "2s", key: "event.data.key" },
          triggers: [{ event: t.name("a") }],
        },
        ({ event }) => {
          ran.push(`${event.data["key"]} ${event.data["n"]}`);
        },
      ),
    ]);
    for (const n of [1, 2, 3, 4]) {
      await t.send({ name: t.name("a"), data: { n, key: n % 2 === 0 ? "x" : "y" } });
      await t.pass(100);
    }
    await t.until(() => (ran.length >= 2 ? true : undefined), 20_000);
    expect(new Set(ran)).toEqual(new Set(["x 4", "y 3"]));
  }),
  scenario("starts a debounced function at its time-out, whatever still comes", async (t) => {
    const ran: unknown[] = [];
    await t.serve([
      t.client.createFunction(
        { id: "f", debounce: { period: "3s", timeout: "4s" }, triggers: [{ event: t.name("a") }] },
        ({ event }) => {
          ran.push(event.data["n"]);
        },
      ),
    ]);
    for (let n = 0; n < 8 && ran.length === 0; n += 1) {
      await t.send({ name: t.name("a"), data: { n } });
      await t.pass(1_000);
    }
    expect(ran.length).toBeGreaterThan(0);
  }),
  scenario("starts a batch when it is full", async (t) => {
    const batches: number[][] = [];
    await t.serve([
      t.client.createFunction(
        {
          id: "f",
          batchEvents: { maxSize: 3, timeout: "30s" },
          triggers: [{ event: t.name("a") }],
        },
        ({ events }) => {
          batches.push(events.map((event) => Number(event.data["n"])));
        },
      ),
    ]);
    await t.send(many(t, 3, (n) => ({ n })));
    await t.until(() => batches[0], 10_000);
    expect(batches.map((batch) => new Set(batch))).toEqual([new Set([0, 1, 2])]);
  }),
  scenario("starts a batch that is not full when its time is over", async (t) => {
    const batches: number[] = [];
    await t.serve([
      t.client.createFunction(
        {
          id: "f",
          batchEvents: { maxSize: 10, timeout: "2s" },
          triggers: [{ event: t.name("a") }],
        },
        ({ events }) => {
          batches.push(events.length);
        },
      ),
    ]);
    await t.send(many(t, 2, (n) => ({ n })));
    await t.until(() => batches[0], 20_000);
    expect(batches).toEqual([2]);
  }),
  scenario("keeps a batch per key", async (t) => {
    const batches: string[] = [];
    await t.serve([
      t.client.createFunction(
        {
          id: "f",
          batchEvents: { maxSize: 2, timeout: "30s", key: "event.data.key" },
          triggers: [{ event: t.name("a") }],
        },
        ({ events }) => {
          batches.push(events.map((event) => String(event.data["key"])).join(""));
        },
      ),
    ]);
    await t.send(many(t, 4, (index) => ({ key: index % 2 === 0 ? "x" : "y" })));
    await t.until(() => (batches.length >= 2 ? true : undefined), 10_000);
    expect(batches.toSorted()).toEqual(["xx", "yy"]);
  }),
  scenario("skips a second run of a singleton while the first is under way", async (t) => {
    let runs = 0;
    await t.serve([
      t.client.createFunction(
        {
          id: "f",
          singleton: { key: "event.data.key", mode: "skip" },
          triggers: [{ event: t.name("a") }],
        },
        async ({ step }) => {
          await step.run("s", () => void (runs += 1));
          await step.sleep("nap", "3s");
        },
      ),
    ]);
    const [first = ""] = await t.send({ name: t.name("a"), data: { key: "k" } });
    await t.until(() => (runs > 0 ? true : undefined), 10_000);
    const [second = ""] = await t.send({ name: t.name("a"), data: { key: "k" } });
    const [other = ""] = await t.send({ name: t.name("a"), data: { key: "other" } });
    await t.ended(first);
    await t.ended(other);
    expect(await t.runsOf(second)).toEqual([]);
    const [third = ""] = await t.send({ name: t.name("a"), data: { key: "k" } });
    await t.ended(third);
    expect(runs).toBe(3);
  }),
  scenario("cancels the first run of a singleton for the second where told to", async (t) => {
    const ended: unknown[] = [];
    let started = 0;
    await t.serve([
      t.client.createFunction(
        { id: "f", singleton: { mode: "cancel" }, triggers: [{ event: t.name("a") }] },
        async ({ step, event }) => {
          await step.run("s", () => void (started += 1));
          await step.sleep("nap", "2s");
          ended.push(event.data["n"]);
        },
      ),
    ]);
    const [first = ""] = await t.send({ name: t.name("a"), data: { n: 1 } });
    await t.until(() => (started > 0 ? true : undefined), 10_000);
    await t.pass(300);
    const [second = ""] = await t.send({ name: t.name("a"), data: { n: 2 } });
    expect(await t.ended(second)).toMatchObject([{ status: "Completed" }]);
    expect(await t.ended(first)).toMatchObject([{ status: "Cancelled" }]);
    expect(ended).toEqual([2]);
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
  scenario("holds a run of negative priority back by as many seconds", async (t) => {
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
  scenario("starts a function once per idempotency key", async (t) => {
    const ran: unknown[] = [];
    await t.serve([
      t.client.createFunction(
        { id: "f", idempotency: "event.data.cart", triggers: [{ event: t.name("a") }] },
        ({ event }) => {
          ran.push(event.data["cart"]);
        },
      ),
    ]);
    await t.send(["x", "y", "x"].map((cart) => ({ name: t.name("a"), data: { cart } })));
    await t.until(() => (ran.length >= 2 ? true : undefined), 10_000);
    await t.send({ name: t.name("a"), data: { cart: "y" } });
    await t.pass(1_000);
    expect(new Set(ran)).toEqual(new Set(["x", "y"]));
  }),
  scenario("cancels a run by an event that matches a field", async (t) => {
    await t.serve([
      t.client.createFunction(
        {
          id: "f",
          cancelOn: [{ event: t.name("stop"), match: "data.id" }],
          triggers: [{ event: t.name("a") }],
        },
        async ({ step }) => {
          await step.sleep("nap", "10s");
        },
      ),
    ]);
    const [one = "", two = ""] = await t.send(many(t, 2, (id) => ({ id: `id ${id}` })));
    const stop = { name: t.name("stop"), data: { id: "id 1" } };
    const stopped = await t.endedBy(two, () => t.send(stop));
    expect(stopped).toMatchObject([{ status: "Cancelled" }]);
    expect(await t.ended(one)).toMatchObject([{ status: "Completed" }]);
  }),
  scenario("cancels a run by an event that meets a condition", async (t) => {
    await t.serve([
      t.client.createFunction(
        {
          id: "f",
          cancelOn: [{ event: t.name("stop"), if: "async.data.id == event.data.id" }],
          triggers: [{ event: t.name("a") }],
        },
        async ({ step }) => {
          await step.sleep("nap", "10s");
        },
      ),
    ]);
    const [one = "", two = ""] = await t.send(many(t, 2, (id) => ({ id })));
    const stop = { name: t.name("stop"), data: { id: 1 } };
    const stopped = await t.endedBy(two, () => t.send(stop));
    expect(stopped).toMatchObject([{ status: "Cancelled" }]);
    expect(await t.ended(one)).toMatchObject([{ status: "Completed" }]);
  }),
  scenario("cancels a run that finishes too late", async (t) => {
    await t.serve([
      t.client.createFunction(
        { id: "f", timeouts: { finish: "2s" }, triggers: [{ event: t.name("a") }] },
        async ({ step }) => {
          await step.run("s", () => 1);
          await step.sleep("nap", "5s");
          await step.run("late", () => 2);
        },
      ),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    expect(await t.ended(id)).toMatchObject([{ status: "Cancelled" }]);
  }),
  scenario("cancels a run that starts too late", async (t) => {
    await t.serve([
      t.client.createFunction(
        {
          id: "f",
          throttle: { limit: 1, period: "6s" },
          timeouts: { start: "2s" },
          triggers: [{ event: t.name("a") }],
        },
        () => "ran",
      ),
    ]);
    const [first = ""] = await t.send({ name: t.name("a") });
    await t.ended(first);
    const [second = ""] = await t.send({ name: t.name("a") });
    expect(await t.ended(second)).toMatchObject([{ status: "Cancelled" }]);
  }),
];
