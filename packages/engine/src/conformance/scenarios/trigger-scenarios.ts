// oxlint-disable vitest/no-standalone-expect -- the test files of this folder run each scenario within a test
import { expect } from "vitest";

import { type Scenario, scenario } from "../scenario.ts";

/** Which functions an event starts, and when. */
export const triggerScenarios: readonly Scenario[] = [
  scenario("starts every function that an event triggers", async (t) => {
    const ran: string[] = [];
    await t.serve(
      ["one", "two"].map((id) =>
        t.client.createFunction({ id, triggers: [{ event: t.name("a") }] }, () => {
          ran.push(id);
        }),
      ),
    );
    const [id = ""] = await t.send({ name: t.name("a") });
    const runs = await t.ended(id, { count: 2 });
    expect(ran.toSorted()).toEqual(["one", "two"]);
    expect(new Set(runs.map((run) => run.function_id)).size).toBe(2);
  }),
  scenario("leaves an event alone that nothing is triggered by", async (t) => {
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, () => 1),
    ]);
    const [id = ""] = await t.send({ name: t.name("b") });
    await t.pass(1_000);
    expect(await t.runsOf(id)).toEqual([]);
  }),
  scenario("matches wildcards behind a slash and a dot", async (t) => {
    const ran: string[] = [];
    await t.serve(
      [t.name("shop/*"), t.name("shop/order.*"), t.name("shop/order.paid")].map((event, index) =>
        t.client.createFunction({ id: `f${index}`, triggers: [{ event }] }, ({ event: got }) => {
          ran.push(`${index} ${got.name.slice(t.id.length + 1)}`);
        }),
      ),
    );
    const [paid = ""] = await t.send({ name: t.name("shop/order.paid") });
    const [other = ""] = await t.send({ name: t.name("shop/cart") });
    await t.ended(paid, { count: 3 });
    await t.ended(other);
    expect(ran.toSorted()).toEqual([
      "0 shop/cart",
      "0 shop/order.paid",
      "1 shop/order.paid",
      "2 shop/order.paid",
    ]);
  }),
  scenario("starts a function only where the trigger's condition is met", async (t) => {
    const ran: number[] = [];
    await t.serve([
      t.client.createFunction(
        {
          id: "f",
          triggers: [{ event: t.name("a"), if: "event.data.n > 1 && event.data.n != 3" }],
        },
        ({ event }) => {
          ran.push(Number(event.data["n"]));
        },
      ),
    ]);
    const ids = await t.send([1, 2, 3, 4].map((n) => ({ name: t.name("a"), data: { n } })));
    await t.ended(ids[1] ?? "");
    await t.ended(ids[3] ?? "");
    expect(ran.toSorted((a, b) => a - b)).toEqual([2, 4]);
  }),
  scenario("takes a missing attribute in a condition as null", async (t) => {
    const ran: string[] = [];
    const conditions = {
      isNull: "event.data.none == null",
      isText: "event.data.none == 'x'",
      isNotText: "event.data.none != 'x'",
      isDeep: "event.data.none.deeper == 'x'",
    };
    await t.serve(
      Object.entries(conditions).map(([id, condition]) =>
        t.client.createFunction({ id, triggers: [{ event: t.name("a"), if: condition }] }, () => {
          ran.push(id);
        }),
      ),
    );
    const [id = ""] = await t.send({ name: t.name("a") });
    await t.ended(id, { count: 2 });
    await t.pass(500);
    expect(ran.toSorted()).toEqual(["isNotText", "isNull"]);
  }),
  scenario("compares and joins texts in a condition", async (t) => {
    const ran: string[] = [];
    const conditions = {
      prefix: "event.data.to.startsWith('ops@')",
      joined: "event.data.to + '!' == 'ops@example.org!'",
      listed: "event.data.kind in ['a', 'b']",
      sized: "size(event.data.list) == 2",
      not: "!(event.data.kind == 'a')",
    };
    await t.serve(
      Object.entries(conditions).map(([id, condition]) =>
        t.client.createFunction({ id, triggers: [{ event: t.name("a"), if: condition }] }, () => {
          ran.push(id);
        }),
      ),
    );
    const data = { to: "ops@example.org", kind: "a", list: [1, 2] };
    const [id = ""] = await t.send({ name: t.name("a"), data });
    await t.ended(id, { count: 4 });
    expect(ran.toSorted()).toEqual(["joined", "listed", "prefix", "sized"]);
  }),
  scenario("starts a function once for an event that meets two of its triggers", async (t) => {
    let runs = 0;
    const triggers = [{ event: t.name("a") }, { event: t.name("*") }];
    await t.serve([
      t.client.createFunction({ id: "f", triggers }, () => {
        runs += 1;
      }),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    await t.ended(id);
    await t.pass(1_000);
    expect(runs).toBe(1);
  }),
  scenario("starts a function at the event's time where that is to come", async (t) => {
    let startedAtMs = 0;
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, () => {
        startedAtMs = t.now();
      }),
    ]);
    const ts = t.now() + 3_000;
    const [id = ""] = await t.send({ name: t.name("a"), ts });
    await t.ended(id);
    expect(startedAtMs).toBeGreaterThanOrEqual(ts);
  }),
  scenario("ticks a cron function on the minute", async (t) => {
    const ticks: { name: string; data: unknown; atMs: number }[] = [];
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ cron: "* * * * *" }] }, ({ event }) => {
        ticks.push({ name: event.name, data: event.data, atMs: t.now() });
      }),
    ]);
    const tick = await t.until(() => ticks[0], 61_000);
    expect(tick).toMatchObject({ name: "inngest/scheduled.timer", data: { cron: "* * * * *" } });
    expect(tick.atMs % 60_000).toBeLessThan(30_000);
  }),
  scenario("refuses a function with an invalid cron, and keeps the app out", async (t) => {
    const functions = [
      t.client.createFunction({ id: "f", triggers: [{ cron: "not a cron" }] }, () => 1),
    ];
    await expect(t.serve(functions)).rejects.toThrow(/./);
  }),
  scenario("refuses a function with an invalid condition", async (t) => {
    const triggers = [{ event: t.name("a"), if: "event.data.x ==" }];
    await expect(
      t.serve([t.client.createFunction({ id: "f", triggers }, () => 1)]),
    ).rejects.toThrow(/./);
  }),
];
