import { referenceFunction } from "inngest";
import { describe, expect, it } from "vitest";

import { createSdkApp } from "../testing/sdk-app.ts";

const triggers: [{ event: "shop/order.placed" }] = [{ event: "shop/order.placed" }];
const placed = (data: Record<string, unknown> = {}) => ({ name: "shop/order.placed", data });

describe("step.run", () => {
  it("runs its code once and is remembered in every later request of the run", async () => {
    const ran: string[] = [];
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "ship", triggers }, async ({ step, event }) => {
        const label = await step.run("print label", () => {
          ran.push("print label");
          return { order: Number(event.data["order"]), carrier: "post" };
        });
        await step.sleep("until collected", "1d");
        return step.run("tell customer", () => `order ${label.order} went by ${label.carrier}`);
      }),
    ]);
    await engine.send(placed({ order: 7 }));
    await engine.advance("1d");
    expect(engine.runs()).toMatchObject([
      { status: "Completed", output: "order 7 went by post", steps: { length: 3 } },
    ]);
    expect(ran).toEqual(["print label"]);
  });

  it("passes arguments on, hands on JSON, and counts steps of one id", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers }, async ({ step }) => {
        const sum = await step.run("add", (a: number, b: number) => a + b, 2, 3);
        const parts: string[] = [];
        for (const part of ["a", "b"]) parts.push(await step.run("part", () => part));
        await step.sleep("nap", "1s");
        const when = await step.run("when", () => ({ at: new Date(0) }));
        return { sum, parts, when };
      }),
    ]);
    await engine.send(placed());
    await engine.advance("1m");
    expect(engine.runs()[0]?.output).toEqual({
      sum: 5,
      parts: ["a", "b"],
      when: { at: "1970-01-01T00:00:00.000Z" },
    });
  });
});

describe("step.sleep and step.sleepUntil", () => {
  it.each([
    ["30m", 30 * 60_000],
    ["2 days", 2 * 86_400_000],
    [90_000, 90_000],
  ])("sleeps for %s", async (time, ms) => {
    const { engine } = createSdkApp((inngest, engine) => [
      inngest.createFunction({ id: "f", triggers }, async ({ step }) => {
        await step.sleep("nap", time);
        return engine.now();
      }),
    ]);
    const beganMs = engine.now();
    await engine.send(placed());
    await engine.advance(ms - 1);
    expect(engine.runs()[0]?.status).toBe("Running");
    await engine.advance(1);
    expect(engine.runs()[0]?.output).toBe(beganMs + ms);
  });

  it.each([["2026-02-01T09:00:00Z"], [new Date("2026-02-01T09:00:00Z")]])(
    "sleeps until %s",
    async (time) => {
      const { engine } = createSdkApp((inngest, engine) => [
        inngest.createFunction({ id: "f", triggers }, async ({ step }) => {
          await step.sleepUntil("due", time);
          return new Date(engine.now()).toISOString();
        }),
      ]);
      await engine.send(placed());
      await engine.advance("40d");
      expect(engine.runs()[0]?.output).toBe("2026-02-01T09:00:00.000Z");
    },
  );

  it("does not sleep until a time that is past", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers }, async ({ step }) => {
        await step.sleepUntil("due", "2020-01-01T00:00:00Z");
        return "at once";
      }),
    ]);
    await engine.send(placed());
    await engine.settled();
    expect(engine.runs()[0]?.output).toBe("at once");
  });
});

describe("step.sendEvent", () => {
  it("sends one event or several, once, and answers their ids", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers }, async ({ step }) => {
        const one = await step.sendEvent("tell", { name: "told", data: { n: 1 } });
        const more = await step.sendEvent("tell all", [{ name: "told" }, { name: "told" }]);
        await step.sleep("nap", "1h");
        return [...one.ids, ...more.ids];
      }),
      inngest.createFunction({ id: "hear", triggers: [{ event: "told" }] }, () => "heard"),
    ]);
    await engine.send(placed());
    await engine.advance("1h");
    const told = engine.events({ name: "told" }).map((event) => event.internalId);
    expect(told).toHaveLength(3);
    expect(engine.runs({ function: "f" })[0]?.output).toEqual(told);
    expect(engine.runs({ function: "hear", status: "Completed" })).toHaveLength(3);
  });
});

describe("step.invoke", () => {
  it("calls a function with data and answers what it returns", async () => {
    const { engine } = createSdkApp((inngest) => {
      const square = inngest.createFunction(
        { id: "square", triggers: [] },
        async ({ event, step }) => step.run("multiply", () => Object(event.data).n ** 2),
      );
      return [
        square,
        inngest.createFunction({ id: "f", triggers }, ({ step }) =>
          step.invoke("square it", { function: square, data: { n: 4 } }),
        ),
      ];
    });
    await engine.send(placed());
    await engine.settled();
    expect(engine.runs({ function: "f" })).toMatchObject([{ status: "Completed", output: 16 }]);
    expect(engine.runs({ function: "square" })).toHaveLength(1);
  });

  it("calls a function of another app by reference", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "answer", triggers: [] }, () => 42),
      inngest.createFunction({ id: "f", triggers }, ({ step }) =>
        step.invoke("ask", { function: referenceFunction({ appId: "app", functionId: "answer" }) }),
      ),
    ]);
    await engine.send(placed());
    await engine.settled();
    expect(engine.runs({ function: "f" })[0]?.output).toBe(42);
  });

  it("throws where the function fails or takes longer than the time-out, and never retries", async () => {
    let tries = 0;
    const { engine } = createSdkApp((inngest) => {
      const fails = inngest.createFunction({ id: "fails", triggers: [], retries: 0 }, () => {
        tries += 1;
        throw new Error("sold out");
      });
      const slow = inngest.createFunction({ id: "slow", triggers: [] }, ({ step }) =>
        step.sleep("long", "2h"),
      );
      const message = (error: unknown) => (error instanceof Error ? error.message : "");
      return [
        fails,
        slow,
        inngest.createFunction({ id: "f", triggers }, async ({ step }) => [
          await step.invoke("a", { function: fails }).catch(message),
          await step.invoke("b", { function: slow, timeout: "1h" }).catch(message),
        ]),
      ];
    });
    await engine.send(placed());
    await engine.advance("3h");
    expect(engine.runs({ function: "f" })[0]?.output).toEqual([
      expect.stringContaining("sold out"),
      expect.stringContaining("Timed out"),
    ]);
    expect(tries).toBe(1);
  });
});

describe("parallel steps", () => {
  it("runs steps beside each other and continues with all results", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers }, async ({ step }) => {
        const [mail, update] = await Promise.all([
          step.run("mail", () => "mailed"),
          step.run("update", () => "updated"),
          step.sleep("beside", "1h"),
        ]);
        return step.run("note", () => ({ mail, update }));
      }),
    ]);
    await engine.send(placed());
    await engine.advance("1h");
    expect(engine.runs()[0]?.output).toEqual({ mail: "mailed", update: "updated" });
  });

  it("tries only the failed branch again", async () => {
    const ran: string[] = [];
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers }, async ({ step, attempt }) => {
        await Promise.all([
          step.run("good", () => void ran.push("good")),
          step.run("shaky", () => {
            ran.push("shaky");
            if (attempt === 0) throw new Error("once");
          }),
        ]);
      }),
    ]);
    await engine.send(placed());
    await engine.advance("1h");
    expect(engine.runs()[0]?.status).toBe("Completed");
    expect(ran.toSorted()).toEqual(["good", "shaky", "shaky"]);
  });
});

describe("step.fetch", () => {
  it("has the server make a request, and answers a response", async () => {
    const { engine } = createSdkApp(
      (inngest) => [
        inngest.createFunction({ id: "f", triggers }, async ({ step }) => {
          const pages = await Promise.all(
            ["a", "b"].map((page) => step.fetch(`https://shop.invalid/${page}`)),
          );
          return Promise.all(pages.map((page) => page.text()));
        }),
      ],
      { fetch: async (input) => new Response(`page ${new URL(new Request(input).url).pathname}`) },
    );
    await engine.send(placed());
    await engine.settled();
    expect(engine.runs()[0]?.output).toEqual(["page /a", "page /b"]);
  });
});

describe("step.ai", () => {
  it("wraps a call of a model's library as a step", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers }, ({ step }) =>
        step.ai.wrap("ask", async (prompt: string) => `answer to ${prompt}`, "why?"),
      ),
    ]);
    await engine.send(placed());
    await engine.settled();
    expect(engine.runs()[0]?.output).toBe("answer to why?");
  });

  it("fails a run that lets the server ask the model, which is not supported, and says so", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers }, ({ step }) =>
        step.ai.infer("ask", {
          model: step.ai.models.openai({ model: "gpt-4o", apiKey: "none" }),
          body: { messages: [{ role: "user", content: "why?" }] },
        }),
      ),
    ]);
    await engine.send(placed());
    await engine.settled();
    expect(engine.runs()).toMatchObject([
      {
        status: "Failed",
        output: { name: "UnsupportedStepError", message: expect.stringContaining("AIGateway") },
      },
    ]);
  });
});
