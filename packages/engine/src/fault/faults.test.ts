import { Inngest } from "inngest";
import { describe, expect, it } from "vitest";

import { createSdkApp } from "../testing/sdk-app.ts";

const triggers: [{ event: "a" }] = [{ event: "a" }];

const child = new Inngest({ id: "app" }).createFunction({ id: "child", triggers: [] }, () => 1);

function setup(options: { seed?: number } = {}) {
  const ran: string[] = [];
  const app = createSdkApp(
    (inngest) => [
      inngest.createFunction({ id: "f", triggers }, async ({ step, event }) => {
        const n = String(event.data["n"] ?? "");
        await step.run("one", () => ran.push(`one${n}`));
        await step.sleep("nap", "10s");
        await step.run("two", () => ran.push(`two${n}`));
      }),
    ],
    options,
  );
  return { ...app, ran };
}

describe("faults", () => {
  it("delivers an event twice, and the function still runs once", async () => {
    const { engine, ran } = setup();
    engine.faults.duplicateEvents();
    const { ids } = await engine.send({ name: "a" });
    await engine.advance("1m");
    expect(ran).toEqual(["one", "two"]);
    expect(engine.explain(ids[0] ?? "")[0]?.decisions.map((each) => each.outcome)).toEqual([
      "started",
      "duplicate event id",
    ]);
  });

  it("lets events overtake each other", async () => {
    const { engine, ran } = setup({ seed: 5 });
    engine.faults.reorderEvents({ within: "5s", times: 3 });
    await engine.send([1, 2, 3].map((n) => ({ name: "a", data: { n } })));
    await engine.advance("6s");
    expect(ran).toHaveLength(3);
    expect(ran).not.toEqual(["one1", "one2", "one3"]);
  });

  it("loses the response of a call that ran: checkpointed steps are not run again", async () => {
    const { engine, ran } = setup();
    engine.faults.dropResponses({ function: "app-f" });
    await engine.send({ name: "a" });
    await engine.advance("2m");
    expect(engine.runs()[0]?.status).toBe("Completed");
    expect(ran).toEqual(["one", "two"]);
  });

  it("delays calls in virtual time", async () => {
    const { engine, ran } = setup();
    engine.faults.delayCalls({ by: "30s" });
    await engine.send({ name: "a" });
    await engine.advance("29s");
    expect(ran).toEqual([]);
    await engine.advance("1s");
    expect(ran).toEqual(["one"]);
  });

  it("gives one call to two workers at once and counts one result", async () => {
    const { engine, ran } = setup();
    engine.faults.callTwice();
    await engine.send({ name: "a" });
    await engine.advance("1m");
    expect(ran.toSorted()).toEqual(["one", "one", "two"]);
    expect(engine.runs()).toHaveLength(1);
    expect(engine.runs()[0]?.status).toBe("Completed");
  });

  it("refuses events for the time given", async () => {
    const { engine, inngest } = setup();
    engine.faults.refuseEvents({ for: "1m" });
    const response = await engine.fetch(`${engine.url}/e/key`, {
      method: "POST",
      body: JSON.stringify({ name: "a" }),
    });
    expect(response.status).toBe(503);
    await engine.advance("61s");
    await expect(inngest.send({ name: "a" })).resolves.toMatchObject({ ids: [expect.any(String)] });
  });

  it("loses the server's memory and takes the app in again", async () => {
    const { engine, ran } = setup();
    await engine.send({ name: "a", id: "x" });
    await engine.settled();
    await engine.faults.restart();
    await engine.advance("1m");
    expect(ran).toEqual(["one"]);
    expect(engine.runs()).toEqual([]);
    await engine.send({ name: "a", id: "x" });
    await engine.advance("1m");
    expect(ran).toEqual(["one", "one", "two"]);
  });
});

describe("a restart in the midst of work", () => {
  it("leaves the app to end its call, and nothing follows from that", async () => {
    let restarts = 0;
    const { engine } = createSdkApp(
      (inngest, engine) => [
        inngest.createFunction({ id: "f", triggers }, async ({ step }) => {
          const reached = await step.run("one", async () => {
            restarts += 1;
            if (restarts === 1) await engine.faults.restart();
            return restarts;
          });
          await step.invoke("two", { function: child });
          return reached;
        }),
        child,
      ],
      { checkpointing: false },
    );
    await engine.send({ name: "a", id: "x" });
    await engine.settled();
    expect(engine.runs()).toEqual([]);
    await engine.send({ name: "a", id: "x" });
    await engine.settled();
    expect(engine.runs({ function: "f" })).toMatchObject([{ status: "Completed", output: 2 }]);
    expect(engine.runs({ function: "child" })).toHaveLength(1);
  });

  it("forgets a run whose request to the outside is under way", async () => {
    const { engine } = createSdkApp(
      (inngest) => [
        inngest.createFunction({ id: "f", triggers }, async ({ step }) => {
          await Promise.all([
            step.fetch("http://a.invalid"),
            step.invoke("b", { function: child }),
          ]);
        }),
        child,
      ],
      {
        fetch: async () => {
          await engine.faults.restart();
          return new Response("late");
        },
      },
    );
    await engine.send({ name: "a" });
    await engine.advance("1h");
    expect(engine.runs()).toEqual([]);
    expect(engine.events()).toEqual([]);
  });

  it("forgets pauses, and events that came before the app was known", async () => {
    const { engine, ran } = setup();
    await engine.send({ name: "a" });
    await engine.faults.restart();
    await engine.settled();
    expect(ran).toEqual([]);
    engine.pause("f");
    await engine.faults.restart();
    await engine.send({ name: "a" });
    await engine.settled();
    expect(ran).toEqual(["one"]);
  });
});

async function play(seed: number): Promise<string> {
  const { engine } = setup({ seed });
  engine.faults.reorderEvents({ within: "1m", times: 10 });
  engine.faults.dropResponses({ times: 3 });
  await engine.send(Array.from({ length: 10 }, (_, n) => ({ name: "a", data: { n } })));
  await engine.advance("10m");
  return JSON.stringify(engine.journal());
}

describe("determinism", () => {
  it("gives the same journal for the same seed, and another for another", async () => {
    const first = await play(7);
    expect(await play(7)).toBe(first);
    expect(await play(8)).not.toBe(first);
  });
});
