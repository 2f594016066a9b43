// oxlint-disable vitest/no-standalone-expect -- the test files of this folder run each scenario within a test
import { expect } from "vitest";

import { type Scenario, scenario } from "../scenario.ts";

/** Steps that wait for an event, a signal or another function. */
export const waitScenarios: readonly Scenario[] = [
  scenario("wakes a run by the event that matches a field", async (t) => {
    const waiting: string[] = [];
    await t.serve([
      t.client.createFunction(
        { id: "f", triggers: [{ event: t.name("a") }] },
        async ({ step, event }) => {
          await step.run("ready", () => void waiting.push(String(event.data["id"])));
          const got = await step.waitForEvent("wait", {
            event: t.name("b"),
            match: "data.id",
            timeout: "20s",
          });
          return {
            id: String(event.data["id"]),
            got: got === null ? null : String(got.data["text"]),
          };
        },
      ),
    ]);
    const [one = "", two = ""] = await t.send([
      { name: t.name("a"), data: { id: "1" } },
      { name: t.name("a"), data: { id: "2" } },
    ]);
    await t.until(() => (waiting.length === 2 ? true : undefined), 10_000);
    const event = { name: t.name("b"), data: { id: "2", text: "for two" } };
    const [run] = await t.endedBy(two, () => t.send(event));
    expect(run?.output).toEqual({ id: "2", got: "for two" });
    const [first] = await t.ended(one, { withinMs: 30_000 });
    expect(first?.output).toEqual({ id: "1", got: null });
  }),
  scenario("wakes a run by the event that meets a condition", async (t) => {
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, async ({ step }) => {
        const got = await step.waitForEvent("wait", {
          event: t.name("b"),
          if: "async.data.id == event.data.id && async.data.ok == true",
          timeout: "1m",
        });
        return got?.data ?? null;
      }),
    ]);
    const [id = ""] = await t.send({ name: t.name("a"), data: { id: 7 } });
    const events = [
      { name: t.name("b"), data: { id: 8, ok: true } },
      { name: t.name("b"), data: { id: 7, ok: false } },
      { name: t.name("b"), data: { id: 7, ok: true, n: 3 } },
    ];
    const [run] = await t.endedBy(id, () => t.send(events));
    expect(run?.output).toEqual({ id: 7, ok: true, n: 3 });
  }),
  scenario("wakes a run with null when nothing came in time", async (t) => {
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, async ({ step }) => {
        const got = await step.waitForEvent("wait", { event: t.name("never"), timeout: "1s" });
        return { got };
      }),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run).toMatchObject({ status: "Completed", output: { got: null } });
  }),
  scenario("does not let an event end a wait that began after it", async (t) => {
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, async ({ step }) => {
        await step.sleep("first", "2s");
        const got = await step.waitForEvent("wait", { event: t.name("b"), timeout: "2s" });
        return { got };
      }),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    await t.send({ name: t.name("b") });
    const [run] = await t.ended(id);
    expect(run?.output).toEqual({ got: null });
  }),
  scenario("invokes a function and hands its result back", async (t) => {
    const seen: unknown[] = [];
    const double = t.client.createFunction({ id: "double", triggers: [] }, ({ event }) => {
      seen.push(event.name);
      return Number(Object(event.data)["n"]) * 2;
    });
    await t.serve([
      double,
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, ({ step }) =>
        step.invoke("double it", { function: double, data: { n: 21 } }),
      ),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run).toMatchObject({ status: "Completed", output: 42 });
    expect(seen).toEqual(["inngest/function.invoked"]);
  }),
  scenario("hands an invoked function's failure back as an error", async (t) => {
    const fails = t.client.createFunction({ id: "fails", retries: 0, triggers: [] }, () => {
      throw new Error("no such order");
    });
    await t.serve([
      fails,
      t.client.createFunction(
        { id: "f", retries: 0, triggers: [{ event: t.name("a") }] },
        async ({ step }) => {
          try {
            await step.invoke("try it", { function: fails, data: {} });
            return "went on";
          } catch (error) {
            return { caught: error instanceof Error ? error.message : "?" };
          }
        },
      ),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run).toMatchObject({
      status: "Completed",
      output: { caught: expect.stringContaining("no such order") },
    });
  }),
  scenario("fails an invocation that takes too long", async (t) => {
    const slow = t.client.createFunction({ id: "slow", triggers: [] }, async ({ step }) => {
      await step.sleep("long", "60s");
    });
    await t.serve([
      slow,
      t.client.createFunction(
        { id: "f", retries: 0, triggers: [{ event: t.name("a") }] },
        async ({ step }) => {
          await step.invoke("wait", { function: slow, data: {}, timeout: "1s" });
        },
      ),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run?.status).toBe("Failed");
    expect(JSON.stringify(run?.output)).toContain("Timed out waiting for invoked function");
  }),
  scenario("fails an invocation of an unknown function", async (t) => {
    await t.serve([
      t.client.createFunction(
        { id: "f", retries: 0, triggers: [{ event: t.name("a") }] },
        async ({ step }) => {
          const { referenceFunction } = await import("inngest");
          await step.invoke("nobody", {
            function: referenceFunction({ appId: t.id, functionId: "nobody" }),
            data: {},
          });
        },
      ),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run?.status).toBe("Failed");
    expect(JSON.stringify(run?.output)).toContain("could not find function");
  }),
  scenario("wakes a run by a signal from another run", async (t) => {
    const signal = `${t.id}-signal`;
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, async ({ step }) => {
        const got = await step.waitForSignal("wait", { signal, timeout: "1m", onConflict: "fail" });
        return got?.data ?? null;
      }),
      t.client.createFunction({ id: "g", triggers: [{ event: t.name("b") }] }, async ({ step }) => {
        await step.sendSignal("send", { signal, data: { from: "g" } });
      }),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.endedBy(id, () => t.send({ name: t.name("b") }));
    expect(run?.output).toEqual({ from: "g" });
  }),
  scenario(
    "wakes a run by a signal through the API, and answers 404 where none waits",
    async (t) => {
      const signal = `${t.id}-signal`;
      await t.serve([
        t.client.createFunction(
          { id: "f", triggers: [{ event: t.name("a") }] },
          async ({ step }) => {
            const got = await step.waitForSignal("wait", {
              signal,
              timeout: "1m",
              onConflict: "fail",
            });
            return got?.data ?? null;
          },
        ),
      ]);
      const [id = ""] = await t.send({ name: t.name("a") });
      const none = await t.ask("POST", "/v1/signals", { signal: `${t.id}-other`, data: 1 });
      expect(none.status).toBe(404);
      const accepted: unknown[] = [];
      const [run] = await t.endedBy(id, async () => {
        const { status, json } = await t.ask("POST", "/v1/signals", { signal, data: { n: 1 } });
        if (status === 200) accepted.push(json["data"]);
      });
      expect(accepted).toEqual([{ run_id: run?.run_id }]);
      expect(run?.output).toEqual({ n: 1 });
    },
  ),
  scenario("wakes a run with null when no signal came in time", async (t) => {
    await t.serve([
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, async ({ step }) => {
        const got = await step.waitForSignal("wait", {
          signal: `${t.id}-none`,
          timeout: "1s",
          onConflict: "fail",
        });
        return { got };
      }),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run?.output).toEqual({ got: null });
  }),
  scenario("fails the second run that waits for one signal, or replaces the first", async (t) => {
    const signal = `${t.id}-signal`;
    await t.serve(
      (["fail", "replace"] as const).map((onConflict) =>
        t.client.createFunction(
          { id: onConflict, retries: 0, triggers: [{ event: t.name(onConflict) }] },
          async ({ step }) => {
            const got = await step.waitForSignal("wait", { signal, timeout: "1m", onConflict });
            return got?.data ?? null;
          },
        ),
      ),
    );
    const both = await t.send([{ name: t.name("fail") }, { name: t.name("fail") }]);
    await t.until(async () => {
      const runs = (await Promise.all(both.map((id) => t.runsOf(id)))).flat();
      return runs.some((run) => run.status === "Failed") ? true : undefined;
    }, 20_000);
    const [third = ""] = await t.send({ name: t.name("replace") });
    // Long enough to take the signal over, on most machines: a signal sent too early wakes the other.
    await t.pass(2_000);
    await t.until(async () => {
      const { json } = await t.ask("POST", "/v1/signals", { signal, data: "now" });
      const [run] = await t.runsOf(third);
      const isWoken = run !== undefined && Object(json["data"]).run_id === run.run_id;
      return isWoken ? true : undefined;
    }, 10_000);
    const [woken] = await t.ended(third);
    expect(woken?.output).toBe("now");
  }),
  scenario("lets a wait time out whose signal another run took over", async (t) => {
    const signal = `${t.id}-signal`;
    await t.serve(
      ["first", "second"].map((id) =>
        t.client.createFunction({ id, triggers: [{ event: t.name(id) }] }, async ({ step }) => {
          const got = await step.waitForSignal("wait", {
            signal,
            timeout: "6s",
            onConflict: "replace",
          });
          return { got };
        }),
      ),
    );
    const [first = ""] = await t.send({ name: t.name("first") });
    await t.pass(1_500);
    const [second = ""] = await t.send({ name: t.name("second") });
    expect(await t.ended(first)).toMatchObject([{ status: "Completed", output: { got: null } }]);
    expect(await t.ended(second)).toMatchObject([{ status: "Completed", output: { got: null } }]);
  }),
];
