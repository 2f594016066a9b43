import { describe, expect, it } from "vitest";

import { createSdkApp } from "../testing/sdk-app.ts";

const triggers: [{ event: "a" }] = [{ event: "a" }];

describe("waiting steps", () => {
  it("sleeps until a time", async () => {
    const { engine } = createSdkApp((inngest, engine) => [
      inngest.createFunction({ id: "f", triggers }, async ({ step }) => {
        await step.sleepUntil("until", "2026-01-05T00:00:00Z");
        return new Date(engine.now()).toISOString();
      }),
    ]);
    await engine.send({ name: "a" });
    await engine.advance("7d");
    expect(engine.runs()[0]?.output).toBe("2026-01-05T00:00:00.000Z");
  });

  it("wakes by a signal, from a step and from outside, and fails on a conflict", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers, retries: 0 }, async ({ step, event }) => {
        const signal = await step.waitForSignal("wait", {
          signal: `task/${String(event.data["id"])}`,
          timeout: "1h",
          onConflict: "fail",
        });
        return { signal: signal === null ? undefined : JSON.stringify(signal.data) };
      }),
      inngest.createFunction({ id: "tell", triggers: [{ event: "b" }] }, async ({ step }) => {
        await step.sendSignal("send", { signal: "task/2", data: "from step" });
      }),
    ]);
    await engine.send({ name: "a", data: { id: 1 } });
    await engine.settled();
    await engine.send([
      { name: "a", data: { id: 1 } },
      { name: "a", data: { id: 2 } },
      { name: "a", data: { id: 3 } },
    ]);
    await engine.settled();
    expect(engine.signal("task/none")).toBeUndefined();
    expect(engine.signal("task/1", "from outside")).toBeDefined();
    await engine.send({ name: "b" });
    await engine.advance("2h");
    expect(engine.runs({ function: "f" })).toMatchObject([
      { status: "Completed", output: { signal: '"from outside"' } },
      { status: "Failed", output: { message: expect.stringContaining("Signal conflict") } },
      { status: "Completed", output: { signal: '"from step"' } },
      { status: "Completed", output: {} },
    ]);
  });

  it("fails an invocation of an unknown function, and one that takes too long", async () => {
    const { engine } = createSdkApp((inngest) => {
      const slow = inngest.createFunction({ id: "slow", triggers: [] }, async ({ step }) => {
        await step.sleep("nap", "2h");
      });
      return [
        slow,
        inngest.createFunction({ id: "f", triggers, retries: 0 }, async ({ step }) => {
          const late = await step
            .invoke("late", { function: slow, timeout: "1h" })
            .catch((error: Error) => error.message);
          return { late };
        }),
      ];
    });
    await engine.send({ name: "a" });
    await engine.advance("3h");
    expect(engine.runs({ function: "f" })[0]?.output).toEqual({
      late: "Timed out waiting for invoked function to complete",
    });
  });
});

describe("steps that fail", () => {
  it("lets the function continue after a step's last failure is caught", async () => {
    let tries = 0;
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers, retries: 1 }, async ({ step }) => {
        const outcome = await step
          .run("risky", () => {
            tries += 1;
            throw new Error("no luck");
          })
          .catch((error: Error) => error.message);
        const after = await step.run("after", () => "went on");
        return { outcome, after };
      }),
    ]);
    await engine.send({ name: "a" });
    await engine.advance("1h");
    expect(tries).toBe(2);
    expect(engine.runs()[0]).toMatchObject({
      status: "Completed",
      output: { outcome: "no luck", after: "went on" },
    });
  });

  it("fails a run that uses a step the engine does not know, and names it", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers }, async ({ step }) => {
        const model = step.ai.models.openai({ model: "gpt-4o", apiKey: "none" });
        await step.ai.infer("think", { model, body: { messages: [] } });
      }),
    ]);
    await engine.send({ name: "a" });
    await engine.settled();
    expect(engine.runs()[0]).toMatchObject({
      status: "Failed",
      output: { name: "UnsupportedStepError", message: expect.stringContaining("AIGateway") },
    });
  });
});

describe("parallel steps", () => {
  it("runs each branch once and continues when all are done", async () => {
    const ran: string[] = [];
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers }, async ({ step }) => {
        const branch = async (name: string, nap: string) => {
          await step.run(`${name} first`, () => ran.push(`${name} first`));
          await step.sleep(`${name} nap`, nap);
          return step.run(`${name} last`, () => {
            ran.push(`${name} last`);
            return name;
          });
        };
        const all = await Promise.all([branch("x", "2m"), branch("y", "1m"), branch("z", "0s")]);
        return step.run("end", () => all.join(""));
      }),
    ]);
    await engine.send({ name: "a" });
    await engine.advance("10m");
    expect(engine.runs()[0]).toMatchObject({ status: "Completed", output: "xyz" });
    expect(ran.toSorted()).toEqual(
      ["x", "y", "z"].flatMap((name) => [`${name} first`, `${name} last`]).toSorted(),
    );
    expect(ran.slice(3)).toEqual(["z last", "y last", "x last"]);
  });

  it("lets the faster of two branches win a race", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers }, async ({ step, group }) => {
        return group.parallel({ mode: "race" }, () =>
          Promise.race([
            step.sleep("slow", "1h").then(() => "slow"),
            step.sleep("fast", "1m").then(() => "fast"),
          ]),
        );
      }),
    ]);
    await engine.send({ name: "a" });
    await engine.advance("2h");
    expect(engine.runs()[0]).toMatchObject({ status: "Completed", output: "fast" });
  });
});

describe("step.fetch", () => {
  it("carries a request out for the app", async () => {
    const asked: string[] = [];
    const { engine } = createSdkApp(
      (inngest) => [
        inngest.createFunction({ id: "f", triggers }, async ({ step }) => {
          const response = await step.fetch("http://outside.invalid/x", {
            method: "POST",
            body: "hi",
          });
          return { status: response.status, text: await response.text() };
        }),
      ],
      {
        fetch: async (input, init) => {
          asked.push(`${init?.method} ${new Request(input).url}`);
          return new Response("hello", { status: 201 });
        },
      },
    );
    await engine.send({ name: "a" });
    await engine.settled();
    expect(asked).toEqual(["POST http://outside.invalid/x"]);
    expect(engine.runs()[0]?.output).toEqual({ status: 201, text: "hello" });
  });
});

describe("large state", () => {
  it("lets the app fetch a state that is too large for a request", async () => {
    const block = "x".repeat(1_500_000);
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers }, async ({ step }) => {
        const blocks: string[] = [];
        for (const name of ["1", "2", "3", "4"]) blocks.push(await step.run(name, () => block));
        await step.sleep("nap", "1m");
        return blocks.reduce((sum, each) => sum + each.length, 0);
      }),
    ]);
    await engine.send({ name: "a" });
    await engine.advance("2m");
    expect(engine.runs()[0]).toMatchObject({ status: "Completed", output: 6_000_000 });
  });
});

describe("signed requests", () => {
  it("runs an app in cloud mode that shares the signing key", async () => {
    const { engine, inngest } = createSdkApp(
      (client) => [
        client.createFunction({ id: "f", triggers }, async ({ step, event }) =>
          step.run("s", () => String(event.data["text"])),
        ),
      ],
      { signingKey: "signkey-test-12345678", eventKeys: ["key"] },
    );
    await inngest.send({ name: "a", data: { text: "ü € 😀", n: 1e21, z: [1.5, -0] } });
    await engine.settled();
    expect(engine.runs()[0]).toMatchObject({ status: "Completed", output: "ü € 😀" });
  });
});
