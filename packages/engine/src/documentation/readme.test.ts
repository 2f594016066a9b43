import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { type Engine, createEngine, virtualClock } from "@evenkeel/engine";
import { Inngest } from "inngest";
import { serve } from "inngest/edge";
import { expect, it } from "vitest";

it("writes to a new user after three days", async () => {
  const mails: string[] = [];
  const engine: Engine = createEngine({
    clock: virtualClock(),
    handler: (request) => handler(request),
  });
  const client = new Inngest({ id: "app", isDev: true, baseUrl: engine.url, fetch: engine.fetch });
  const welcome = client.createFunction(
    { id: "welcome", triggers: [{ event: "user/signed.up" }] },
    async ({ event, step }) => {
      await step.sleep("settle in", "3d");
      await step.run("mail", () => mails.push(`user ${event.data["id"]}`));
    },
  );
  const handler = serve({ client, functions: [welcome] });

  await engine.send({ name: "user/signed.up", data: { id: 1 } });
  await engine.advance("2d");
  expect(mails).toEqual([]);
  await engine.advance("1d"); // sleeps, backoffs, cron ticks and time-outs fall due in order
  expect(mails).toEqual(["user 1"]);
  expect(engine.runs({ status: "Completed" })).toHaveLength(1);
});

it("shows in the README what stands above", async () => {
  const trim = (text: string) =>
    text.split("\n").flatMap((line) => (line.trim() === "" ? [] : [line.trim()]));
  const readme = await readFile(join(import.meta.dirname, "..", "..", "README.md"), "utf8");
  const test = trim(await readFile(import.meta.filename, "utf8")).join("\n");
  const fences = [...readme.matchAll(/```ts\n(.*?)```/gsu)].map(([, code = ""]) => code);
  expect(fences).toHaveLength(1);
  for (const code of fences) expect(test).toContain(trim(code).join("\n"));
});
