import { NonRetriableError, RetryAfterError, StepError } from "inngest";
import { describe, expect, it } from "vitest";

import { createSdkApp } from "../testing/sdk-app.ts";

const triggers: [{ event: "reminder/set" }] = [{ event: "reminder/set" }];
const set = (id = 1) => ({ name: "reminder/set", data: { id } });

describe("errors and retries", () => {
  it.each([
    [undefined, 5],
    [0, 1],
    [2, 3],
  ] as const)("with retries %s tries a step %s times in all", async (retries, count) => {
    let tries = 0;
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction(
        { id: "f", triggers, ...(retries === undefined ? {} : { retries }) },
        ({ step }) =>
          step.run("s", () => {
            tries += 1;
            throw new Error("boom");
          }),
      ),
    ]);
    await engine.send(set());
    await engine.advance("1d");
    expect(engine.runs()).toMatchObject([{ status: "Failed", output: { message: "boom" } }]);
    expect(tries).toBe(count);
  });

  it("counts the tries of each step by itself, and tells which it is", async () => {
    const seen: string[] = [];
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers, retries: 1 }, async ({ step, attempt }) => {
        for (const name of ["a", "b"]) {
          await step.run(name, () => {
            seen.push(`${name}${attempt}`);
            if (attempt === 0) throw new Error("once");
          });
        }
      }),
    ]);
    await engine.send(set());
    await engine.advance("1h");
    expect(engine.runs()[0]?.status).toBe("Completed");
    expect(seen).toEqual(["a0", "a1", "b0", "b1"]);
  });

  it("lets a function recover from a failed step", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers, retries: 1 }, async ({ step }) => {
        try {
          return await step.run("dear", () => {
            throw new TypeError("down");
          });
        } catch (error) {
          return step.run("cheap", () => (error instanceof StepError ? error.message : "?"));
        }
      }),
    ]);
    await engine.send(set());
    await engine.advance("1h");
    expect(engine.runs()).toMatchObject([{ status: "Completed", output: "down" }]);
  });

  it("never tries again after a NonRetriableError", async () => {
    let tries = 0;
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers }, () => {
        tries += 1;
        throw new NonRetriableError("no such user", { cause: new Error("404") });
      }),
    ]);
    await engine.send(set());
    await engine.advance("1d");
    expect(engine.runs()).toMatchObject([
      { status: "Failed", output: { message: "no such user" } },
    ]);
    expect(tries).toBe(1);
  });

  it.each([
    ["text", "10m"],
    ["milliseconds", 600_000],
  ])("tries again when a RetryAfterError says, in %s", async (_what, after) => {
    const at: number[] = [];
    const { engine } = createSdkApp((inngest, engine) => [
      inngest.createFunction({ id: "f", triggers }, ({ step }) =>
        step.run("s", () => {
          at.push(engine.now());
          if (at.length === 1) throw new RetryAfterError("busy", after);
        }),
      ),
    ]);
    const beganMs = engine.now();
    await engine.send(set());
    await engine.advance("1h");
    expect(at.map((ms) => ms - beganMs)).toEqual([0, 600_000]);
  });
});

describe("the end of a failed run", () => {
  it("calls onFailure when all tries are used up, with the error and the first event", async () => {
    const told: unknown[] = [];
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction(
        {
          id: "f",
          triggers,
          retries: 1,
          onFailure: ({ error, event, step }) =>
            step.run("tell", () => {
              told.push([error.message, event.data.event.data, event.data.function_id]);
            }),
        },
        () => {
          throw new Error("boom");
        },
      ),
    ]);
    await engine.send(set(7));
    await engine.settled();
    expect(told).toEqual([]);
    await engine.advance("1h");
    expect(told).toEqual([["boom", { id: 7 }, "app-f"]]);
  });

  it("tells every function that listens of failed runs", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers, retries: 0 }, () => {
        throw new Error("boom");
      }),
      inngest.createFunction(
        {
          id: "watch",
          triggers: [{ event: "inngest/function.failed", if: "event.data.function_id == 'app-f'" }],
        },
        ({ event }) => Object(event.data).error.message,
      ),
    ]);
    await engine.send(set());
    await engine.settled();
    expect(engine.runs({ function: "watch" })[0]?.output).toBe("boom");
  });
});

describe("cancelOn", () => {
  it.each([
    ["a field that matches", { match: "data.id" }],
    ["a condition", { if: "async.data.id == event.data.id" }],
  ])("cancels a run by an event with %s", async (_what, filter) => {
    const sent: number[] = [];
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction(
        { id: "f", triggers, cancelOn: [{ event: "reminder/deleted", ...filter }] },
        async ({ step, event }) => {
          await step.sleep("until due", "2d");
          await step.run("send", () => void sent.push(Number(event.data["id"])));
        },
      ),
    ]);
    await engine.send([set(1), set(2)]);
    await engine.advance("1d");
    await engine.send({ name: "reminder/deleted", data: { id: 2 } });
    await engine.advance("2d");
    expect(engine.runs().map((run) => run.status)).toEqual(["Completed", "Cancelled"]);
    expect(sent).toEqual([1]);
    expect(engine.events({ name: "inngest/function.cancelled" })).toHaveLength(1);
  });

  it("listens only as long as its time-out says", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction(
        { id: "f", triggers, cancelOn: [{ event: "reminder/deleted", timeout: "24h" }] },
        ({ step }) => step.sleep("until due", "3d"),
      ),
    ]);
    await engine.send(set());
    await engine.advance("25h");
    await engine.send({ name: "reminder/deleted" });
    await engine.advance("3d");
    expect(engine.runs()[0]?.status).toBe("Completed");
  });

  it("lets a step end that is at work, and runs none after it", async () => {
    const ran: string[] = [];
    const { engine } = createSdkApp((inngest, engine) => [
      inngest.createFunction(
        { id: "f", triggers, cancelOn: [{ event: "reminder/deleted" }], checkpointing: false },
        async ({ step }) => {
          await step.run("at work", async () => {
            await engine.send({ name: "reminder/deleted" });
            ran.push("at work");
          });
          await step.run("after", () => void ran.push("after"));
        },
      ),
    ]);
    await engine.send(set());
    await engine.settled();
    expect(engine.runs()[0]?.status).toBe("Cancelled");
    expect(ran).toEqual(["at work"]);
  });
});

describe("timeouts", () => {
  it("cancels a run that waits too long to start", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction(
        { id: "f", triggers, throttle: { limit: 1, period: "1m" }, timeouts: { start: "10s" } },
        () => 1,
      ),
    ]);
    await engine.send([set(1), set(2)]);
    await engine.advance("2m");
    expect(engine.runs().map((run) => run.status)).toEqual(["Completed", "Cancelled"]);
  });

  it("cancels a run that takes too long from its start on", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction(
        { id: "f", triggers, timeouts: { finish: "30s" } },
        ({ step, event }) => step.sleep("work", Number(event.data["id"]) * 1_000),
      ),
    ]);
    const beganMs = engine.now();
    await engine.send([set(29), set(31)]);
    await engine.advance("2m");
    expect(engine.runs().map((run) => run.status)).toEqual(["Completed", "Cancelled"]);
    expect(engine.runs()[1]?.endedAtMs).toBe(beganMs + 30_000);
  });
});
