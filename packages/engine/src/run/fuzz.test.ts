import { array, assert, asyncProperty, constant, integer, oneof, record } from "fast-check";
import { describe, expect, it } from "vitest";
import type { Engine } from "../engine.ts";
import { createSdkApp } from "../testing/sdk-app.ts";

/** One thing that a random function does. */
type Act =
  | { readonly kind: "run"; readonly failures: number }
  | { readonly kind: "parallel"; readonly width: number; readonly failures: number }
  | { readonly kind: "sleep"; readonly seconds: number }
  | { readonly kind: "wait"; readonly seconds: number }
  | { readonly kind: "send" }
  | { readonly kind: "invoke" };

type Fault = {
  readonly kind: "drop" | "delay" | "twice" | "duplicate" | "reorder";
  readonly times: number;
};

const act = oneof(
  record({ kind: constant("run" as const), failures: integer({ min: 0, max: 3 }) }),
  record({
    kind: constant("parallel" as const),
    width: integer({ min: 2, max: 4 }),
    failures: integer({ min: 0, max: 3 }),
  }),
  record({ kind: constant("sleep" as const), seconds: integer({ min: 0, max: 100 }) }),
  record({ kind: constant("wait" as const), seconds: integer({ min: 1, max: 100 }) }),
  record({ kind: constant("send" as const) }),
  record({ kind: constant("invoke" as const) }),
);
const fault = record({
  kind: oneof(
    ...(["drop", "delay", "twice", "duplicate", "reorder"] as const).map((kind) => constant(kind)),
  ),
  times: integer({ min: 1, max: 3 }),
});
const scenario = record({
  seed: integer({ min: 0, max: 1_000_000 }),
  acts: array(act, { maxLength: 6 }),
  faults: array(fault, { maxLength: 4 }),
  events: integer({ min: 1, max: 4 }),
  concurrency: integer({ min: 1, max: 3 }),
});
type Scenario = { seed: number; acts: Act[]; faults: Fault[]; events: number; concurrency: number };

function inject(engine: Engine, { kind, times }: Fault): void {
  switch (kind) {
    case "drop":
      engine.faults.dropAnswers({ times });
      break;
    case "delay":
      engine.faults.delayCalls({ by: "20s", times });
      break;
    case "twice":
      engine.faults.callTwice({ times });
      break;
    case "duplicate":
      engine.faults.duplicateEvents({ times });
      break;
    case "reorder":
      engine.faults.reorderEvents({ within: "30s", times });
      break;
  }
}

async function play(scenario: Scenario) {
  /** Results that came out of the engine's memory, per run and step. */
  const remembered = new Map<string, Set<number>>();
  let executions = 0;
  const { engine } = createSdkApp(
    (inngest) => {
      const child = inngest.createFunction({ id: "child", triggers: [] }, async ({ step }) =>
        step.run("only", () => 1),
      );
      const parent = inngest.createFunction(
        {
          id: "parent",
          triggers: [{ event: "go" }],
          retries: 2,
          concurrency: scenario.concurrency,
        },
        async ({ step, runId, attempt }) => {
          const executedHere = new Set<number>();
          const work = async (name: string, failures: number) => {
            const token = await step
              .run(name, () => {
                if (attempt < failures) throw new Error("not yet");
                executions += 1;
                executedHere.add(executions);
                return executions;
              })
              .catch(() => 0);
            if (executedHere.has(token)) return;
            const key = `${runId} ${name}`;
            remembered.set(key, (remembered.get(key) ?? new Set()).add(token));
          };
          for (const [index, each] of scenario.acts.entries()) {
            const name = `${index} ${each.kind}`;
            if (each.kind === "run") await work(name, each.failures);
            else if (each.kind === "sleep") await step.sleep(name, each.seconds * 1_000);
            else if (each.kind === "send") await step.sendEvent(name, { name: "told" });
            else if (each.kind === "invoke") await step.invoke(name, { function: child });
            else if (each.kind === "wait") {
              await step.waitForEvent(name, { event: "told", timeout: each.seconds * 1_000 });
            } else {
              const branches = Array.from({ length: each.width }, (_, branch) =>
                work(`${name} ${branch}`, each.failures),
              );
              await Promise.all(branches);
            }
          }
        },
      );
      return [child, parent];
    },
    { seed: scenario.seed },
  );
  for (const each of scenario.faults) inject(engine, each);
  await engine.send(Array.from({ length: scenario.events }, () => ({ name: "go" })));
  await engine.advance("2d");
  const runs = engine.runs();
  const journal = JSON.stringify(engine.journal());
  await engine.close();
  return { runs, remembered, journal };
}

describe("any function under any faults", () => {
  it("ends every run and remembers one result per step", { timeout: 120_000 }, async () => {
    await assert(
      asyncProperty(scenario, async (each) => {
        const { runs, remembered } = await play(each);
        const parents = runs.filter((run) => run.function === "app-parent");
        expect(parents).toHaveLength(each.events);
        expect(runs.filter((run) => run.endedAtMs === undefined)).toEqual([]);
        for (const tokens of remembered.values()) expect(tokens.size).toBe(1);
      }),
      { numRuns: 40 },
    );
  });

  it("does the same again with the same seed", { timeout: 120_000 }, async () => {
    await assert(
      asyncProperty(scenario, async (each) => {
        const first = await play(each);
        const second = await play(each);
        expect(second.journal).toBe(first.journal);
      }),
      { numRuns: 15 },
    );
  });
});
