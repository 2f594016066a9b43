// oxlint-disable vitest/no-standalone-expect -- the test files of this folder run each scenario within a test
import { expect } from "vitest";

import { type Scenario, manyEvents, scenario } from "../scenario.ts";

/** How many runs start in a time: throttles, rate limits and idempotency keys. */
export const rateScenarios: readonly Scenario[] = [
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
    const ids = await t.send(manyEvents(t, 3, () => ({})));
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
    await t.send(manyEvents(t, 5, () => ({})));
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
    await t.send(manyEvents(t, 3, () => ({})));
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
    await t.send(manyEvents(t, 4, (index) => ({ key: index % 2 === 0 ? "x" : "y" })));
    await t.until(() => (ran.length >= 2 ? true : undefined), 10_000);
    await t.pass(1_000);
    expect(new Set(ran)).toEqual(new Set(["x", "y"]));
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
];
