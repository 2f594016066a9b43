import type { InngestFunction } from "inngest";
import { describe, expect, it } from "vitest";

import { createSdkApp } from "../testing/sdk-app.ts";

const triggers: [{ event: "record/changed" }] = [{ event: "record/changed" }];
const changed = (data: Record<string, unknown> = {}) => ({ name: "record/changed", data });

describe("debounce", () => {
  it("waits for a quiet period per key, and starts with the last event", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction(
        { id: "f", triggers, debounce: { period: "5m", key: "event.data.account" } },
        ({ event }) => Number(event.data["n"]),
      ),
    ]);
    for (const n of [1, 2, 3, 4]) {
      await engine.send(changed({ n, account: n % 2 }));
      await engine.advance("1m");
    }
    await engine.advance("1m59s");
    expect(engine.runs()).toEqual([]);
    await engine.advance("1h");
    expect(engine.runs().map((run) => run.output)).toEqual([3, 4]);
  });

  it("starts at the time-out with the latest event while events keep coming", async () => {
    const { engine } = createSdkApp((inngest, engine) => [
      inngest.createFunction(
        { id: "f", triggers, debounce: { period: "5m", timeout: "10m" } },
        ({ event }) => ({ n: Number(event.data["n"]), at: engine.now() }),
      ),
    ]);
    const beganMs = engine.now();
    for (const n of [0, 1, 2, 3, 4]) {
      await engine.send(changed({ n }));
      await engine.advance("3m");
    }
    expect(engine.runs()[0]?.output).toEqual({ n: 3, at: beganMs + 10 * 60_000 });
  });
});

describe("batchEvents", () => {
  function setup(config: { key?: string; if?: string } = {}) {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction(
        { id: "f", triggers, batchEvents: { maxSize: 3, timeout: "4s", ...config } },
        ({ event, events }) => ({
          first: Number(event.data["n"]),
          all: events.map((each) => Number(each.data["n"])),
        }),
      ),
    ]);
    return engine;
  }

  it("starts one run when it is full, and one when its time is over", async () => {
    const engine = setup();
    await engine.send([1, 2, 3, 4, 5].map((n) => changed({ n })));
    await engine.settled();
    expect(engine.runs().map((run) => run.output)).toEqual([{ first: 1, all: [1, 2, 3] }]);
    await engine.advance("3s");
    expect(engine.runs()).toHaveLength(1);
    await engine.advance("1s");
    expect(engine.runs()[1]?.output).toEqual({ first: 4, all: [4, 5] });
  });

  it("collects each value of a key by itself", async () => {
    const engine = setup({ key: "event.data.account" });
    await engine.send([1, 2, 3, 4].map((n) => changed({ n, account: n % 2 })));
    await engine.advance("4s");
    expect(engine.runs().map((run) => run.output)).toEqual([
      { first: 1, all: [1, 3] },
      { first: 2, all: [2, 4] },
    ]);
  });

  it("starts a run at once for an event that does not meet its condition", async () => {
    const engine = setup({ if: "event.data.plan == 'free'" });
    await engine.send([
      changed({ n: 1, plan: "free" }),
      changed({ n: 2, plan: "pro" }),
      changed({ n: 3, plan: "free" }),
    ]);
    await engine.settled();
    expect(engine.runs().map((run) => run.output)).toEqual([{ first: 2, all: [2] }]);
    await engine.advance("4s");
    expect(engine.runs()[1]?.output).toEqual({ first: 1, all: [1, 3] });
  });

  it("cannot be had together with cancelOn, debounce, singleton or priority", async () => {
    const clashes: Partial<InngestFunction.Options>[] = [
      { cancelOn: [{ event: "stop" }] },
      { debounce: { period: "5s" } },
      { singleton: { mode: "skip" } },
      { priority: { run: "1" } },
    ];
    for (const clash of clashes) {
      const { engine } = createSdkApp((inngest) => [
        inngest.createFunction(
          { ...clash, id: "f", triggers, batchEvents: { maxSize: 3, timeout: "4s" } },
          () => 1,
        ),
      ]);
      await expect(engine.settled()).rejects.toThrow(/mutually exclusive|together/);
    }
  });
});

describe("idempotency", () => {
  it("starts functions once a day for an event's id", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers }, () => 1),
      inngest.createFunction({ id: "g", triggers }, () => 1),
    ]);
    await engine.send([
      { ...changed(), id: "order-1" },
      { ...changed(), id: "order-1" },
    ]);
    await engine.advance("23h59m");
    await engine.send({ ...changed(), id: "order-1" });
    await engine.settled();
    expect(engine.runs()).toHaveLength(2);
    expect(engine.events({ name: "record/changed" })).toHaveLength(3);
    await engine.advance("2m");
    await engine.send({ ...changed(), id: "order-1" });
    await engine.settled();
    expect(engine.runs()).toHaveLength(4);
  });

  it("starts one function once a day per value of its key, and leaves the others alone", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "pay", triggers, idempotency: "event.data.cart" }, () => 1),
      inngest.createFunction({ id: "log", triggers }, () => 1),
    ]);
    await engine.send(["a", "a", "b"].map((cart) => changed({ cart })));
    await engine.settled();
    expect(engine.runs({ function: "pay" })).toHaveLength(2);
    expect(engine.runs({ function: "log" })).toHaveLength(3);
    await engine.advance("24h");
    await engine.send(changed({ cart: "a" }));
    await engine.settled();
    expect(engine.runs({ function: "pay" })).toHaveLength(3);
  });
});
