// oxlint-disable vitest/no-standalone-expect -- the test files of this folder run each scenario within a test
import { expect } from "vitest";

import { type Scenario, manyEvents, scenario } from "../scenario.ts";

/** Which runs make way: singletons, cancellations and time-outs. */
export const exclusionScenarios: readonly Scenario[] = [
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
    const [one = "", two = ""] = await t.send(manyEvents(t, 2, (id) => ({ id: `id ${id}` })));
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
    const [one = "", two = ""] = await t.send(manyEvents(t, 2, (id) => ({ id })));
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
