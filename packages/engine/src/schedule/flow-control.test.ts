import { describe, expect, it } from "vitest";

import { createSdkApp } from "../testing/sdk-app.ts";
import { virtualClock } from "../time/clock.ts";

const minuteMs = 60_000;
const triggers: [{ event: "a" }] = [{ event: "a" }];
const event = (data: Record<string, unknown> = {}) => ({ name: "a", data });

describe("triggers", () => {
  it("starts functions by wildcard and by condition, and explains the others", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "wild", triggers: [{ event: "shop/order.*" }] }, async () => 1),
      inngest.createFunction(
        { id: "big", triggers: [{ event: "shop/order.made", if: "event.data.sum > 100" }] },
        async () => 2,
      ),
      inngest.createFunction({ id: "other", triggers: [{ event: "shop/paid" }] }, async () => 3),
    ]);
    const { ids } = await engine.send({ name: "shop/order.made", data: { sum: 50 } });
    await engine.settled();
    expect(engine.runs().map((run) => run.function)).toEqual(["app-wild"]);
    expect(engine.explain(ids[0] ?? "")[0]?.decisions.map((each) => each.outcome)).toEqual([
      "started",
      "filtered",
      "no match",
    ]);
    await engine.send({ name: "shop/order.made", data: { sum: 101 } });
    await engine.settled();
    expect(engine.runs({ function: "big" })).toHaveLength(1);
  });

  it("ticks a cron in its time zone, and every minute of hours in between", async () => {
    const clock = virtualClock({ start: "2026-01-01T08:00:00Z" });
    const { engine } = createSdkApp(
      (inngest) => [
        inngest.createFunction(
          { id: "morning", triggers: [{ cron: "TZ=Europe/Berlin 30 9 * * *" }] },
          async ({ event }) => event.name,
        ),
        inngest.createFunction(
          { id: "minutely", triggers: [{ cron: "* * * * *" }] },
          async () => 1,
        ),
      ],
      { clock },
    );
    await engine.settled();
    await engine.advanceTo("2026-01-01T12:00:00Z");
    const [morning] = engine.runs({ function: "morning" });
    expect(new Date(morning?.queuedAtMs ?? 0).toISOString()).toBe("2026-01-01T08:30:00.000Z");
    expect(morning?.output).toBe("inngest/scheduled.timer");
    expect(engine.runs({ function: "minutely", status: "Completed" })).toHaveLength(240);
  });

  it("starts a run at its event's future time", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers }, async () => 1),
    ]);
    await engine.send({ name: "a", ts: engine.now() + 10 * minuteMs });
    await engine.advance("9m");
    expect(engine.runs()[0]?.status).toBe("Scheduled");
    await engine.advance("1m");
    expect(engine.runs()[0]?.status).toBe("Completed");
  });
});

describe("limits before a run", () => {
  it("starts a function once a day per idempotency key", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers, idempotency: "event.data.key" }, async () => 1),
    ]);
    await engine.send([event({ key: "x" }), event({ key: "x" }), event({ key: "y" })]);
    await engine.settled();
    expect(engine.runs()).toHaveLength(2);
    const decisions = engine.events({ name: "a" }).map(({ internalId }) => {
      return engine.explain(internalId)[0]?.decisions[0]?.outcome;
    });
    expect(decisions).toEqual(["started", "idempotent", "started"]);
    await engine.advance("24h");
    await engine.send(event({ key: "x" }));
    await engine.settled();
    expect(engine.runs()).toHaveLength(3);
  });

  it("drops events beyond a rate limit", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction(
        { id: "f", triggers, rateLimit: { limit: 1, period: "1m", key: "event.data.user" } },
        async () => 1,
      ),
    ]);
    await engine.send([event({ user: 1 }), event({ user: 1 }), event({ user: 2 })]);
    await engine.settled();
    expect(engine.runs()).toHaveLength(2);
    await engine.advance("61s");
    await engine.send(event({ user: 1 }));
    await engine.settled();
    expect(engine.runs()).toHaveLength(3);
  });

  it("starts once with the last event of a debounced burst", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction(
        { id: "f", triggers, debounce: { period: "1m", timeout: "150s" } },
        async ({ event: received }) => Number(received.data["n"]),
      ),
    ]);
    for (const n of [1, 2, 3, 4, 5]) {
      await engine.send(event({ n }));
      await engine.advance("40s");
    }
    await engine.advance("2m");
    expect(engine.runs().map((run) => run.output)).toEqual([4, 5]);
  });

  it("collects a batch until it is full or its time is over", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction(
        { id: "f", triggers, batchEvents: { maxSize: 3, timeout: "10s", key: "event.data.user" } },
        async ({ events }) => events.map((each) => Number(each.data["n"])),
      ),
    ]);
    await engine.send([1, 2, 3, 4].map((n) => event({ n, user: 1 })));
    await engine.settled();
    expect(engine.runs().map((run) => run.output)).toEqual([[1, 2, 3]]);
    await engine.advance("10s");
    expect(engine.runs().map((run) => run.output)).toEqual([[1, 2, 3], [4]]);
  });
});

describe("limits between runs", () => {
  it.each([1, 2])("keeps concurrency %d per key while calls are slow", async (limit) => {
    let active = 0;
    let peak = 0;
    const { engine } = createSdkApp(
      (inngest) => [
        inngest.createFunction(
          { id: "f", triggers, concurrency: { limit, key: "event.data.user" } },
          async ({ step }) => {
            await step.run("work", async () => {
              active += 1;
              peak = Math.max(peak, active);
              await new Promise((resolve) => setImmediate(resolve));
              active -= 1;
            });
          },
        ),
      ],
      { maxCalls: 10 },
    );
    await engine.send(Array.from({ length: 8 }, () => event({ user: 1 })));
    await engine.settled();
    expect(engine.runs({ status: "Completed" })).toHaveLength(8);
    expect(peak).toBe(limit);
  });

  it("gives a place up while a run sleeps", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers, concurrency: 1 }, async ({ step }) => {
        await step.sleep("nap", "1h");
      }),
    ]);
    await engine.send([event(), event()]);
    await engine.settled();
    expect(engine.runs().map((run) => run.status)).toEqual(["Running", "Running"]);
  });

  it("spreads starts out by a throttle, and drops none", async () => {
    const starts: number[] = [];
    const { engine } = createSdkApp((inngest, engine) => [
      inngest.createFunction(
        { id: "f", triggers, throttle: { limit: 1, period: "1m" } },
        async () => void starts.push(engine.now()),
      ),
    ]);
    const beganMs = engine.now();
    await engine.send([event(), event(), event()]);
    await engine.advance("5m");
    expect(starts.map((ms) => ms - beganMs)).toEqual([0, minuteMs, 2 * minuteMs]);
  });

  it("lets a run of higher priority go first", async () => {
    const order: number[] = [];
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction(
        {
          id: "f",
          triggers,
          concurrency: 1,
          priority: { run: "event.data.paid == true ? 120 : 0" },
        },
        async ({ event: received }) => void order.push(Number(received.data["n"])),
      ),
    ]);
    await engine.send([event({ n: 1 }), event({ n: 2 }), event({ n: 3, paid: true })]);
    await engine.settled();
    expect(order[0]).toBe(3);
  });

  it("skips a second singleton, or cancels the first", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction(
        { id: "skip", triggers, singleton: { mode: "skip", key: "event.data.user" } },
        async ({ step }) => step.sleep("nap", "1h"),
      ),
      inngest.createFunction(
        { id: "cancel", triggers, singleton: { mode: "cancel", key: "event.data.user" } },
        async ({ step }) => step.sleep("nap", "1h"),
      ),
    ]);
    await engine.send(event({ user: 1 }));
    await engine.settled();
    await engine.send([event({ user: 1 }), event({ user: 2 })]);
    await engine.advance("2h");
    expect(engine.runs({ function: "skip" }).map((run) => run.status)).toEqual([
      "Completed",
      "Completed",
    ]);
    expect(engine.runs({ function: "cancel" }).map((run) => run.status)).toEqual([
      "Cancelled",
      "Completed",
      "Completed",
    ]);
    expect(engine.events({ name: "inngest/function.cancelled" })).toHaveLength(1);
  });
});

describe("ends from outside", () => {
  it("cancels a run by an event that matches", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction(
        { id: "f", triggers, cancelOn: [{ event: "stop", if: "async.data.id == event.data.id" }] },
        async ({ step }) => step.sleep("nap", "1h"),
      ),
    ]);
    await engine.send([event({ id: 1 }), event({ id: 2 })]);
    await engine.settled();
    await engine.send({ name: "stop", data: { id: 2 } });
    await engine.advance("2h");
    expect(engine.runs().map((run) => run.status)).toEqual(["Completed", "Cancelled"]);
  });

  it("cancels a run that starts or finishes too late", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction(
        { id: "start", triggers, throttle: { limit: 1, period: "10m" }, timeouts: { start: "1m" } },
        async () => 1,
      ),
      inngest.createFunction(
        { id: "finish", triggers, timeouts: { finish: "1m" } },
        async ({ step }) => step.sleep("nap", "1h"),
      ),
    ]);
    await engine.send([event(), event()]);
    await engine.advance("2h");
    expect(engine.runs({ function: "start" }).map((run) => run.status)).toEqual([
      "Completed",
      "Cancelled",
    ]);
    expect(engine.runs({ function: "finish" }).map((run) => run.status)).toEqual([
      "Cancelled",
      "Cancelled",
    ]);
  });

  it("skips events of a paused function and holds its queued work", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers }, async ({ step }) => {
        await step.sleep("nap", "1m");
        return 1;
      }),
    ]);
    await engine.send(event());
    await engine.settled();
    engine.pause("f");
    const { ids } = await engine.send(event());
    await engine.advance("5m");
    expect(engine.explain(ids[0] ?? "")[0]?.decisions[0]?.outcome).toBe("paused");
    expect(engine.runs().map((run) => run.status)).toEqual(["Running"]);
    engine.resume("f");
    await engine.settled();
    expect(engine.runs().map((run) => run.status)).toEqual(["Completed"]);
  });
});
