import { createEngine, virtualClock } from "@evenkeel/engine";
import { Inngest } from "inngest";
import { serve } from "inngest/edge";

import { silent } from "../engine/apps.ts";
import { executionsOf, type Executions } from "./moved-product.ts";

/** Runs so many jobs the plain way, an event and a run for each, and returns what the engine counted. */
export async function runOneEventPerJob(jobs: number): Promise<Executions> {
  const engine = createEngine({
    handler: (request) => handler(request),
    clock: virtualClock({ start: Date.parse("2026-01-01T00:00:00Z") }),
    stallMs: 600_000,
    retention: { runs: jobs, journal: 0 },
  });
  const client = new Inngest({
    id: "plain",
    isDev: true,
    baseUrl: engine.url,
    fetch: engine.fetch,
    logger: silent,
  });
  let done = 0;
  const fn = client.createFunction(
    { id: "note-write", triggers: [{ event: "note/write.requested" }] },
    async ({ step }) => step.run("work", () => (done += 1)),
  );
  const handler = serve({ client, functions: [fn] });
  try {
    for (let sent = 0; sent < jobs; sent += 100) {
      const events = Array.from({ length: Math.min(100, jobs - sent) }, (_, n) => ({
        name: "note/write.requested",
        data: { n: sent + n },
      }));
      await client.send(events);
    }
    await engine.settled();
    if (done !== jobs) throw new Error(`${done} of ${jobs} jobs ran.`);
    return executionsOf(engine);
  } finally {
    await engine.close();
  }
}
