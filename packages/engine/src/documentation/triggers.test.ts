import { describe, expect, it } from "vitest";

import { createSdkApp } from "../testing/sdk-app.ts";
import { virtualClock } from "../time/clock.ts";

describe("event triggers", () => {
  it("start every function that an event names", async () => {
    const { engine } = createSdkApp((inngest) =>
      ["mail", "trial"].map((id) =>
        inngest.createFunction({ id, triggers: { event: "user/joined" } }, ({ event }) =>
          Number(event.data["id"]),
        ),
      ),
    );
    await engine.send({ name: "user/joined", data: { id: 3 } });
    await engine.settled();
    expect(engine.runs()).toMatchObject([
      { function: "app-mail", output: 3 },
      { function: "app-trial", output: 3 },
    ]);
  });

  it.each([
    ["event.data.sum > 100", { sum: 101 }, { sum: 100 }],
    ["event.data.plan == 'pro' && event.data.seats >= 5", { plan: "pro", seats: 5 }, { seats: 9 }],
    ["event.data.to.startsWith('eu-')", { to: "eu-1" }, { to: "us-1" }],
    ["event.data.kind in ['a', 'b']", { kind: "b" }, { kind: "c" }],
    ["!(event.data.flag == true)", {}, { flag: true }],
  ])("start a function only where %s", async (condition, met, unmet) => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers: [{ event: "a", if: condition }] }, () => 1),
    ]);
    await engine.send([
      { name: "a", data: met },
      { name: "a", data: unmet },
    ]);
    await engine.settled();
    expect(engine.runs().map((run) => run.events[0]?.data)).toEqual([met]);
  });

  it("match a wildcard behind a slash or a dot", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "app", triggers: [{ event: "shop/*" }] }, () => 1),
      inngest.createFunction({ id: "order", triggers: [{ event: "shop/order.*" }] }, () => 1),
    ]);
    await engine.send(
      ["shop/order.paid", "shop/cart", "other/order.paid"].map((name) => ({ name })),
    );
    await engine.settled();
    const ran = (id: string) => engine.runs({ function: id }).map((run) => run.events[0]?.name);
    expect(ran("app")).toEqual(["shop/order.paid", "shop/cart"]);
    expect(ran("order")).toEqual(["shop/order.paid"]);
  });

  it("may be several, with a cron among them", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction(
        {
          id: "sync",
          triggers: [
            { event: "user/joined" },
            { event: "user/changed", if: "event.data.name != null" },
            { cron: "0 6 * * *" },
          ],
        },
        ({ event }) => event.name,
      ),
    ]);
    await engine.send([
      { name: "user/joined" },
      { name: "user/changed", data: { name: "x" } },
      { name: "user/changed" },
    ]);
    await engine.advance("1d");
    expect(engine.runs().map((run) => run.output)).toEqual([
      "user/joined",
      "user/changed",
      "inngest/scheduled.timer",
    ]);
  });

  it("start a run at the event's time where that is to come", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers: [{ event: "a" }] }, () => 1),
    ]);
    const ts = engine.now() + 3_600_000;
    await engine.send({ name: "a", ts });
    await engine.advance("2h");
    expect(engine.runs()[0]?.startedAtMs).toBe(ts);
  });
});

describe("cron triggers", () => {
  async function ticks(cron: string, start: string, days: number): Promise<string[]> {
    const { engine } = createSdkApp(
      (inngest) => [inngest.createFunction({ id: "f", triggers: [{ cron }] }, () => 1)],
      { clock: virtualClock({ start }) },
    );
    await engine.advance(`${days}d`);
    return engine.runs().map((run) => new Date(run.queuedAtMs).toISOString().slice(0, 16));
  }

  it("tick in UTC where they name no time zone", async () => {
    expect(await ticks("0 9 * * 1", "2026-01-01T00:00:00Z", 14)).toEqual([
      "2026-01-05T09:00",
      "2026-01-12T09:00",
    ]);
  });

  it("tick in their time zone, in summer and in winter", async () => {
    const cron = "TZ=Europe/Paris 0 12 * * *";
    expect(await ticks(cron, "2026-03-28T00:00:00Z", 3)).toEqual([
      "2026-03-28T11:00",
      "2026-03-29T10:00",
      "2026-03-30T10:00",
    ]);
    expect(await ticks(cron, "2026-10-24T00:00:00Z", 3)).toEqual([
      "2026-10-24T10:00",
      "2026-10-25T11:00",
      "2026-10-26T11:00",
    ]);
  });
});
