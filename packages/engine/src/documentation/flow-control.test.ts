import { describe, expect, it } from "vitest";

import { createSdkApp } from "../testing/sdk-app.ts";

const triggers: [{ event: "import/asked" }] = [{ event: "import/asked" }];
const asked = (data: Record<string, unknown> = {}) => ({ name: "import/asked", data });
const many = (count: number, data: (n: number) => Record<string, unknown> = (n) => ({ n })) =>
  Array.from({ length: count }, (_, n) => asked(data(n)));

/** Counts who is at work at once, by key. */
function createGauge() {
  const present = new Map<string, number>();
  const most = new Map<string, number>();
  return {
    most: (key: string) => most.get(key),
    async work(key: string): Promise<void> {
      const count = (present.get(key) ?? 0) + 1;
      present.set(key, count);
      most.set(key, Math.max(count, most.get(key) ?? 0));
      await new Promise((resolve) => setImmediate(resolve));
      present.set(key, (present.get(key) ?? 0) - 1);
    },
  };
}

describe("concurrency", () => {
  it.each([
    ["a number", 2],
    ["a limit", { limit: 2 }],
    ["a limit of the function's scope", { scope: "fn", limit: 2 }],
  ] as const)("limits the steps at work, given as %s", async (_what, concurrency) => {
    const gauge = createGauge();
    const { engine } = createSdkApp(
      (inngest) => [
        inngest.createFunction({ id: "f", triggers, concurrency }, ({ step }) =>
          step.run("work", () => gauge.work("all")),
        ),
      ],
      { maxCalls: 10 },
    );
    await engine.send(many(6));
    await engine.settled();
    expect(engine.runs({ status: "Completed" })).toHaveLength(6);
    expect(gauge.most("all")).toBe(2);
  });

  it("limits each value of a key, beside a limit of all", async () => {
    const gauge = createGauge();
    const { engine } = createSdkApp(
      (inngest) => [
        inngest.createFunction(
          {
            id: "f",
            triggers,
            concurrency: [{ limit: 3 }, { limit: 1, key: "event.data.tenant" }],
          },
          ({ step, event }) =>
            step.run("work", async () => {
              await Promise.all([gauge.work("all"), gauge.work(String(event.data["tenant"]))]);
            }),
        ),
      ],
      { maxCalls: 10 },
    );
    await engine.send(many(12, (n) => ({ tenant: `t${n % 4}` })));
    await engine.settled();
    expect(engine.runs({ status: "Completed" })).toHaveLength(12);
    expect([gauge.most("t0"), gauge.most("t1"), gauge.most("all")]).toEqual([1, 1, 3]);
  });

  it.each(["env", "account"] as const)("shares a limit of scope %s by its key", async (scope) => {
    const gauge = createGauge();
    const { engine } = createSdkApp(
      (inngest) =>
        ["summary", "chat"].map((id) =>
          inngest.createFunction(
            { id, triggers, concurrency: { scope, key: `"model"`, limit: 1 } },
            ({ step }) => step.run("ask", () => gauge.work("model")),
          ),
        ),
      { maxCalls: 10 },
    );
    await engine.send(many(3));
    await engine.settled();
    expect(engine.runs({ status: "Completed" })).toHaveLength(6);
    expect(gauge.most("model")).toBe(1);
  });

  it("does not count runs that sleep or wait", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers, concurrency: 1 }, async ({ step }) => {
        await step.run("begin", () => 1);
        await step.waitForEvent("more", { event: "more", timeout: "1h" });
      }),
    ]);
    await engine.send(many(3));
    await engine.settled();
    expect(engine.runs().map((run) => run.steps.at(-1)?.status)).toEqual(Array(3).fill("waiting"));
  });
});

describe("throttle", () => {
  it("lets limit and burst start at once, then one at a time, and drops none", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction(
        { id: "f", triggers, throttle: { limit: 2, period: "6s", burst: 1 } },
        () => 1,
      ),
    ]);
    const beganMs = engine.now();
    await engine.send(many(6));
    await engine.advance("1m");
    expect(engine.runs().map((run) => Number(run.startedAtMs) - beganMs)).toEqual([
      0, 0, 0, 3_000, 6_000, 9_000,
    ]);
  });

  it("throttles each value of a key by itself", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction(
        { id: "f", triggers, throttle: { limit: 1, period: "5s", key: "event.data.user" } },
        () => 1,
      ),
    ]);
    await engine.send(many(4, (n) => ({ user: n % 2 })));
    await engine.settled();
    expect(engine.runs({ status: "Completed" })).toHaveLength(2);
    await engine.advance("5s");
    expect(engine.runs({ status: "Completed" })).toHaveLength(4);
  });
});

describe("rateLimit", () => {
  it("skips events of a key beyond one in four hours", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction(
        { id: "f", triggers, rateLimit: { limit: 1, period: "4h", key: "event.data.company" } },
        () => 1,
      ),
    ]);
    await engine.send(many(4, (n) => ({ company: n % 2 })));
    await engine.advance("3h59m");
    await engine.send(asked({ company: 0 }));
    await engine.settled();
    expect(engine.runs()).toHaveLength(2);
    await engine.advance("1m");
    await engine.send(asked({ company: 0 }));
    await engine.settled();
    expect(engine.runs()).toHaveLength(3);
  });

  it("spreads a larger limit over its period, as the server does, with a tenth at once", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction(
        { id: "f", triggers, rateLimit: { limit: 10, period: "10m" } },
        () => 1,
      ),
    ]);
    await engine.send(many(10));
    await engine.settled();
    expect(engine.runs()).toHaveLength(2);
    await engine.advance("1m");
    await engine.send(many(10));
    await engine.settled();
    expect(engine.runs()).toHaveLength(3);
  });
});

describe("priority", () => {
  const record = (run: string) => {
    const order: unknown[] = [];
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction(
        { id: "f", triggers, concurrency: 1, priority: { run } },
        ({ event }) => {
          order.push(event.data["n"]);
        },
      ),
    ]);
    return { engine, order };
  };

  it("lets a run go ahead of those queued up to as many seconds before", async () => {
    const { engine, order } = record("event.data.plan == 'enterprise' ? 120 : 0");
    await engine.send([asked({ n: 1 }), asked({ n: 2 }), asked({ n: 3, plan: "enterprise" })]);
    await engine.settled();
    expect(order).toEqual([3, 1, 2]);
  });

  it("delays a run of negative priority by as many seconds", async () => {
    const { engine, order } = record("event.data.plan == 'free' ? -60 : 0");
    await engine.send([asked({ n: 1, plan: "free" }), asked({ n: 2 })]);
    await engine.advance("59s");
    expect(order).toEqual([2]);
    await engine.advance("1s");
    expect(order).toEqual([2, 1]);
  });
});

describe("singleton", () => {
  it.each([
    ["skip", ["Completed", "Completed"], 2],
    ["cancel", ["Cancelled", "Completed", "Completed"], 3],
  ] as const)("keeps one run per key under way: %s", async (mode, statuses, count) => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction(
        { id: "f", triggers, singleton: { key: "event.data.user", mode } },
        ({ step }) => step.sleep("sync", "1h"),
      ),
    ]);
    await engine.send(asked({ user: 1 }));
    await engine.settled();
    await engine.send([asked({ user: 1 }), asked({ user: 2 })]);
    await engine.advance("2h");
    expect(engine.runs().map((run) => run.status)).toEqual(statuses);
    await engine.send(asked({ user: 1 }));
    await engine.settled();
    expect(engine.runs()).toHaveLength(count + 1);
  });
});
