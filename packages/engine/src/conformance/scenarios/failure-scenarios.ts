// oxlint-disable vitest/no-standalone-expect -- the test files of this folder run each scenario within a test
import { NonRetriableError, RetryAfterError } from "inngest";
import { expect } from "vitest";

import { type Scenario, type ScenarioContext, scenario } from "../scenario.ts";

/** Collects the server's own events about this app's functions. */
function watchInternal(t: ScenarioContext, name: string, into: Record<string, unknown>[]) {
  return t.client.createFunction(
    { id: `on-${name.slice(name.indexOf(".") + 1)}`, triggers: [{ event: name }] },
    ({ event }) => {
      const data: Record<string, unknown> = event.data;
      if (String(data["function_id"]).startsWith(`${t.id}-f`)) into.push(data);
    },
  );
}

/** Failures, what is tried again, and what is told of the end. */
export const failureScenarios: readonly Scenario[] = [
  scenario(
    "tries a failed step again after the time it asks for, and counts the attempts",
    async (t) => {
      const tries: { attempt: number; atMs: number }[] = [];
      await t.serve([
        t.client.createFunction(
          { id: "f", retries: 3, triggers: [{ event: t.name("a") }] },
          async ({ step, attempt }) => {
            const first = await step.run("first", () => "first");
            await step.run("second", () => {
              tries.push({ attempt, atMs: t.now() });
              if (tries.length < 3) throw new RetryAfterError("not yet", 2_000);
            });
            return first;
          },
        ),
      ]);
      const [id = ""] = await t.send({ name: t.name("a") });
      const [run] = await t.ended(id);
      expect(run).toMatchObject({ status: "Completed", output: "first" });
      expect(tries.map((each) => each.attempt)).toEqual([0, 1, 2]);
      // The header is in whole seconds of the wall clock.
      expect((tries[1]?.atMs ?? 0) - (tries[0]?.atMs ?? 0)).toBeGreaterThanOrEqual(990);
    },
  ),
  scenario(
    "tries a failed step again after 15 to 45 seconds where it asks for no time",
    async (t) => {
      const tries: number[] = [];
      await t.serve([
        t.client.createFunction(
          { id: "f", retries: 1, triggers: [{ event: t.name("a") }] },
          async ({ step }) => {
            await step.run("s", () => {
              tries.push(t.now());
              if (tries.length === 1) throw new Error("once");
            });
          },
        ),
      ]);
      const [id = ""] = await t.send({ name: t.name("a") });
      await t.ended(id, { withinMs: 60_000 });
      const waitedMs = (tries[1] ?? 0) - (tries[0] ?? 0);
      expect(waitedMs).toBeGreaterThanOrEqual(14_000);
      expect(waitedMs).toBeLessThan(60_000);
    },
  ),
  scenario("gives each step its own attempts", async (t) => {
    const tries: string[] = [];
    await t.serve([
      t.client.createFunction(
        { id: "f", retries: 1, triggers: [{ event: t.name("a") }] },
        async ({ step, attempt }) => {
          for (const name of ["one", "two"]) {
            await step.run(name, () => {
              tries.push(`${name} ${attempt}`);
              if (attempt === 0) throw new RetryAfterError("again", 1_000);
            });
          }
        },
      ),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run?.status).toBe("Completed");
    expect(tries).toEqual(["one 0", "one 1", "two 0", "two 1"]);
  }),
  scenario("fails a run whose step used up its attempts, with the step's error", async (t) => {
    let tries = 0;
    await t.serve([
      t.client.createFunction(
        { id: "f", retries: 1, triggers: [{ event: t.name("a") }] },
        async ({ step }) => {
          await step.run("s", () => {
            tries += 1;
            throw new RetryAfterError(`failure ${tries}`, 1_000);
          });
        },
      ),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run?.status).toBe("Failed");
    expect(JSON.stringify(run?.output)).toContain("failure 2");
    expect(tries).toBe(2);
  }),
  scenario("does not try again with no retries", async (t) => {
    let tries = 0;
    await t.serve([
      t.client.createFunction({ id: "f", retries: 0, triggers: [{ event: t.name("a") }] }, () => {
        tries += 1;
        throw new TypeError("boom");
      }),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run).toMatchObject({ status: "Failed", output: { name: "TypeError", message: "boom" } });
    expect(tries).toBe(1);
  }),
  scenario("does not try a step again that must not be", async (t) => {
    let tries = 0;
    await t.serve([
      t.client.createFunction(
        { id: "f", retries: 5, triggers: [{ event: t.name("a") }] },
        async ({ step }) => {
          await step.run("s", () => {
            tries += 1;
            throw new NonRetriableError("never");
          });
        },
      ),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run?.status).toBe("Failed");
    expect(tries).toBe(1);
  }),
  scenario("tries a failed function again, with its steps remembered", async (t) => {
    const ran: string[] = [];
    await t.serve([
      t.client.createFunction(
        { id: "f", retries: 2, triggers: [{ event: t.name("a") }] },
        async ({ step }) => {
          const n = await step.run("s", () => (ran.push("step"), 1));
          ran.push("body");
          if (ran.filter((each) => each === "body").length < 2) {
            throw new RetryAfterError("again", 1_000);
          }
          return n;
        },
      ),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run).toMatchObject({ status: "Completed", output: 1 });
    expect(ran).toEqual(["step", "body", "body"]);
  }),
  scenario("lets a function continue after a failed step that it catches", async (t) => {
    await t.serve([
      t.client.createFunction(
        { id: "f", retries: 0, triggers: [{ event: t.name("a") }] },
        async ({ step }) => {
          try {
            await step.run("risky", () => {
              throw new RangeError("too far");
            });
            return "went on";
          } catch (error) {
            const name = error instanceof Error ? error.name : "?";
            const message = error instanceof Error ? error.message : "?";
            return step.run("instead", () => `${name}: ${message}`);
          }
        },
      ),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run?.status).toBe("Completed");
    expect(run?.output).toContain("too far");
  }),
  scenario("keeps an error's cause", async (t) => {
    await t.serve([
      t.client.createFunction({ id: "f", retries: 0, triggers: [{ event: t.name("a") }] }, () => {
        throw new Error("outer", { cause: new Error("inner") });
      }),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    expect(run?.output).toMatchObject({ message: "outer" });
    expect(JSON.stringify(run?.output)).toContain("inner");
  }),
  scenario("calls onFailure with the error and the first event", async (t) => {
    const failures: unknown[] = [];
    await t.serve([
      t.client.createFunction(
        {
          id: "f",
          retries: 0,
          triggers: [{ event: t.name("a") }],
          onFailure: ({ error, event }) => {
            failures.push({ message: error.message, event: event.data.event.name });
          },
        },
        () => {
          throw new Error("boom");
        },
      ),
    ]);
    await t.send({ name: t.name("a") });
    await t.until(() => failures[0], 10_000);
    expect(failures).toEqual([{ message: "boom", event: t.name("a") }]);
  }),
  scenario("tells of a failed run by inngest/function.failed", async (t) => {
    const told: Record<string, unknown>[] = [];
    await t.serve([
      watchInternal(t, "inngest/function.failed", told),
      t.client.createFunction({ id: "f", retries: 0, triggers: [{ event: t.name("a") }] }, () => {
        throw new Error("boom");
      }),
    ]);
    const [id = ""] = await t.send({ name: t.name("a"), data: { n: 1 } });
    const [run] = await t.ended(id);
    const data = await t.until(() => told[0], 10_000);
    expect(data).toMatchObject({
      function_id: `${t.id}-f`,
      run_id: run?.run_id,
      error: { name: "Error", message: "boom" },
      event: { name: t.name("a"), data: { n: 1 } },
    });
  }),
  scenario("tells of a completed run by inngest/function.finished", async (t) => {
    const told: Record<string, unknown>[] = [];
    await t.serve([
      watchInternal(t, "inngest/function.finished", told),
      t.client.createFunction({ id: "f", triggers: [{ event: t.name("a") }] }, () => ({ n: 2 })),
    ]);
    const [id = ""] = await t.send({ name: t.name("a") });
    const [run] = await t.ended(id);
    const data = await t.until(() => told[0], 10_000);
    expect(data).toMatchObject({
      function_id: `${t.id}-f`,
      run_id: run?.run_id,
      result: { n: 2 },
      event: { name: t.name("a") },
    });
    expect(data).not.toHaveProperty("error");
  }),
  scenario(
    "tells of a cancelled run by inngest/function.cancelled, and not as failed",
    async (t) => {
      const told: Record<string, unknown>[] = [];
      const failed: Record<string, unknown>[] = [];
      await t.serve([
        watchInternal(t, "inngest/function.cancelled", told),
        watchInternal(t, "inngest/function.failed", failed),
        t.client.createFunction(
          { id: "f", triggers: [{ event: t.name("a") }] },
          async ({ step }) => {
            await step.sleep("nap", "30s");
          },
        ),
      ]);
      const [id = ""] = await t.send({ name: t.name("a") });
      const run = await t.until(
        async () => (await t.runsOf(id)).find((each) => each.status === "Running"),
        10_000,
      );
      await t.pass(500);
      await t.ask("DELETE", `/v1/runs/${run.run_id}`);
      const data = await t.until(() => told[0], 10_000);
      expect(data).toMatchObject({ function_id: `${t.id}-f`, run_id: run.run_id });
      expect(failed).toEqual([]);
    },
  ),
  scenario(
    "tries a failed step again after the interval that the server was started with",
    async (t) => {
      const tries: number[] = [];
      await t.serve([
        t.client.createFunction(
          { id: "f", retries: 3, triggers: [{ event: t.name("a") }] },
          async ({ step }) => {
            await step.run("s", () => {
              tries.push(t.now());
              if (tries.length < 4) throw new Error("not yet");
            });
          },
        ),
      ]);
      const [id = ""] = await t.send({ name: t.name("a") });
      expect(await t.ended(id)).toMatchObject([{ status: "Completed" }]);
      for (const index of [1, 2, 3]) {
        const waitedMs = (tries[index] ?? 0) - (tries[index - 1] ?? 0);
        expect(waitedMs).toBeGreaterThanOrEqual(1_900);
        expect(waitedMs).toBeLessThan(14_000);
      }
    },
    { retryMs: 2_000 },
  ),
];
