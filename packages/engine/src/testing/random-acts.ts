import type { Inngest } from "inngest";

import type { Functions } from "./sdk-app.ts";

/** One thing that a random function does. */
export type Act =
  | { readonly kind: "run"; readonly failures: number }
  | { readonly kind: "parallel"; readonly width: number; readonly failures: number }
  | { readonly kind: "sleep"; readonly seconds: number }
  | { readonly kind: "wait"; readonly seconds: number }
  | { readonly kind: "send" }
  | { readonly kind: "invoke" }
  /** The server loses its memory while the step is at work; once only. */
  | { readonly kind: "crash" };

/** Defines `parent`, which performs acts when told to `go`, and what it calls upon. */
export function performActs(
  inngest: Inngest,
  scene: {
    readonly acts: readonly Act[];
    readonly concurrency: number;
    /** Is told each result that came out of the engine's memory, under the run and the step. */
    readonly remembered: Map<string, Set<number>>;
    readonly restart: () => Promise<void>;
  },
): Functions {
  const { acts, concurrency, remembered } = scene;
  const crashed = new Set<string>();
  let executions = 0;

  const child = inngest.createFunction({ id: "child", triggers: [] }, async ({ step }) =>
    step.run("only", () => 1),
  );
  const hearer = inngest.createFunction({ id: "hearer", triggers: [{ event: "told" }] }, () => 1);
  const parent = inngest.createFunction(
    { id: "parent", triggers: [{ event: "go" }], retries: 2, concurrency },
    async ({ step, runId, attempt }) => {
      const executedHere = new Set<number>();
      const work = async (name: string, failures: number, effect?: () => Promise<void>) => {
        const token = await step
          .run(name, async () => {
            if (attempt < failures) throw new Error("not yet");
            executions += 1;
            const mine = executions;
            executedHere.add(mine);
            await effect?.();
            return mine;
          })
          .catch(() => 0);
        if (executedHere.has(token)) return;
        const key = `${runId} ${name}`;
        remembered.set(key, (remembered.get(key) ?? new Set()).add(token));
      };
      const crash = async (name: string) => {
        if (crashed.has(name)) return;
        crashed.add(name);
        await scene.restart();
      };
      for (const [index, act] of acts.entries()) {
        const name = `${index} ${act.kind}`;
        switch (act.kind) {
          case "run":
            await work(name, act.failures);
            break;
          case "crash":
            await work(name, 0, () => crash(name));
            break;
          case "sleep":
            await step.sleep(name, act.seconds * 1_000);
            break;
          case "send":
            await step.sendEvent(name, { name: "told" });
            break;
          case "invoke":
            await step.invoke(name, { function: child });
            break;
          case "wait":
            await step.waitForEvent(name, { event: "told", timeout: act.seconds * 1_000 });
            break;
          case "parallel":
            await Promise.all(
              Array.from({ length: act.width }, (_, branch) =>
                work(`${name} ${branch}`, act.failures),
              ),
            );
        }
      }
    },
  );
  return [child, hearer, parent];
}
