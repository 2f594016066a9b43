// oxlint-disable vitest/no-standalone-expect -- the test files of this folder run each scenario within a test
import { expect } from "vitest";

import { type Scenario, manyEvents, scenario } from "../scenario.ts";

/** Which events start a run together: debounces and batches. */
export const groupingScenarios: readonly Scenario[] = [
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
    await t.send(manyEvents(t, 3, (n) => ({ n })));
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
    await t.send(manyEvents(t, 2, (n) => ({ n })));
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
    await t.send(manyEvents(t, 4, (index) => ({ key: index % 2 === 0 ? "x" : "y" })));
    await t.until(() => (batches.length >= 2 ? true : undefined), 10_000);
    expect(batches.toSorted()).toEqual(["xx", "yy"]);
  }),
];
