import { describe, expect, it } from "vitest";

import { createSdkApp } from "../testing/sdk-app.ts";

const triggers: [{ event: "user/joined" }] = [{ event: "user/joined" }];
const joined = (id: number) => ({ name: "user/joined", data: { id } });

describe("step.waitForEvent", () => {
  it("wakes by the event whose field matches the trigger's", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers }, async ({ step }) => {
        const paid = await step.waitForEvent("payment", {
          event: "user/paid",
          match: "data.id",
          timeout: "3d",
        });
        return paid === null ? "remind" : Number(paid.data["sum"]);
      }),
    ]);
    await engine.send([joined(1), joined(2)]);
    await engine.settled();
    await engine.send({ name: "user/paid", data: { id: 2, sum: 10 } });
    await engine.advance("4d");
    expect(engine.runs().map((run) => run.output)).toEqual(["remind", 10]);
  });

  it("wakes by the event that meets a condition over both events", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers }, async ({ step }) => {
        const paid = await step.waitForEvent("payment", {
          event: "user/paid",
          if: "event.data.id == async.data.id && async.data.plan == 'pro'",
          timeout: "3d",
        });
        return paid?.data ?? null;
      }),
    ]);
    await engine.send(joined(1));
    await engine.settled();
    await engine.send([
      { name: "user/paid", data: { id: 1, plan: "free" } },
      { name: "user/paid", data: { id: 2, plan: "pro" } },
      { name: "user/paid", data: { id: 1, plan: "pro" } },
    ]);
    await engine.settled();
    expect(engine.runs()[0]?.output).toEqual({ id: 1, plan: "pro" });
  });

  it.each([
    ["a duration", "2h"],
    ["milliseconds", 7_200_000],
    ["a time", new Date("2026-01-01T02:00:00Z")],
  ])("answers null when no event came in time, given as %s", async (_what, timeout) => {
    const { engine } = createSdkApp((inngest, engine) => [
      inngest.createFunction({ id: "f", triggers }, async ({ step }) => {
        const got = await step.waitForEvent("never", { event: "never", timeout });
        return { got, at: new Date(engine.now()).toISOString() };
      }),
    ]);
    await engine.send(joined(1));
    await engine.advance("1d");
    expect(engine.runs()[0]?.output).toEqual({ got: null, at: "2026-01-01T02:00:00.000Z" });
  });

  it("wakes every run that waits for an event, and none by an event of before", async () => {
    const { engine } = createSdkApp((inngest) => [
      inngest.createFunction({ id: "f", triggers }, async ({ step }) => {
        const got = await step.waitForEvent("news", { event: "news", timeout: "1d" });
        return got === null ? null : Number(got.data["n"]);
      }),
    ]);
    await engine.send({ name: "news", data: { n: 1 } });
    await engine.send([joined(1), joined(2)]);
    await engine.settled();
    expect(engine.runs({ status: "Running" })).toHaveLength(2);
    await engine.send({ name: "news", data: { n: 2 } });
    await engine.settled();
    expect(engine.runs().map((run) => run.output)).toEqual([2, 2]);
  });
});

describe("step.waitForSignal and step.sendSignal", () => {
  it("wakes the one run that waits, from a step and from the client", async () => {
    const { engine, inngest } = createSdkApp((client) => [
      client.createFunction({ id: "f", triggers }, async ({ step, event }) => {
        const answer = await step.waitForSignal("approval", {
          signal: `approval/${event.data["id"]}`,
          timeout: "3d",
          onConflict: "fail",
        });
        return answer?.data ?? "timed out";
      }),
      client.createFunction({ id: "boss", triggers: [{ event: "decided" }] }, ({ step }) =>
        step.sendSignal("approve", { signal: "approval/1", data: { approved: true } }),
      ),
    ]);
    await engine.send([joined(1), joined(2), joined(3)]);
    await engine.settled();
    await engine.send({ name: "decided" });
    await inngest.sendSignal({ signal: "approval/2", data: { approved: false } });
    await engine.advance("3d");
    expect(engine.runs({ function: "f" }).map((run) => run.output)).toEqual([
      { approved: true },
      { approved: false },
      "timed out",
    ]);
  });

  it("fails a second run that waits for the same signal, or lets it take the signal over", async () => {
    const { engine } = createSdkApp((inngest) =>
      (["fail", "replace"] as const).map((onConflict) =>
        inngest.createFunction(
          { id: onConflict, triggers: [{ event: onConflict }], retries: 0 },
          async ({ step }) => {
            const got = await step.waitForSignal("s", { signal: "s", timeout: "1d", onConflict });
            return got?.data ?? "timed out";
          },
        ),
      ),
    );
    for (const name of ["fail", "fail", "replace"]) {
      await engine.send({ name });
      await engine.settled();
    }
    expect(engine.signal("s", "for the last")).toBe(engine.runs({ function: "replace" })[0]?.id);
    await engine.advance("1d");
    expect(engine.runs()).toMatchObject([
      { status: "Completed", output: "timed out" },
      { status: "Failed", output: { message: expect.stringContaining("conflict") } },
      { status: "Completed", output: "for the last" },
    ]);
  });
});
