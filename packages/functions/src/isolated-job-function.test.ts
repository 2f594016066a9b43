import { defineJob, enqueueMany, handleJob, type JobDefinition } from "@evenkeel/jobs";
import { afterEach, expect, test } from "vitest";
import { z } from "zod";

import { createEventSender } from "./event-sender.ts";
import { createRequestRuns } from "./isolated-job-function.ts";
import { createBackgroundApp, windowEvent, type BackgroundApp } from "./testing/background-app.ts";

let app: BackgroundApp;
afterEach(() => app.close());

const payload: z.ZodObject<{ n: z.ZodNumber }> = z.object({ n: z.number() });
const exportJob: JobDefinition<typeof payload> = defineJob({
  type: "export",
  version: 1,
  payload,
  isolated: true,
});

/** How the runs of isolated jobs ended. */
function outcomes(): unknown[] {
  return app.engine
    .runs({ function: "app-run-isolated-job" })
    .map(({ output }) => z.object({ outcome: z.string() }).parse(output).outcome)
    .toSorted();
}

test("isolated jobs run as runs of their own, one at a time per tenant, once however often they are asked for", async () => {
  const running = new Map<string, number>();
  let most = 0;
  const ran: string[] = [];
  app = await createBackgroundApp({
    handlers: [
      handleJob(exportJob, async ({ tenantId, payload: { n }, id }) => {
        running.set(tenantId, (running.get(tenantId) ?? 0) + 1);
        most = Math.max(most, running.get(tenantId) ?? 0);
        await new Promise((resolve) => {
          setTimeout(resolve, 5);
        });
        running.set(tenantId, (running.get(tenantId) ?? 0) - 1);
        ran.push(`${tenantId} ${n}`);
        // Its own request comes once more, while it runs.
        if (n === 0) {
          const requestRuns = createRequestRuns(app.client, "again");
          const lane = "stable";
          await requestRuns([
            { id, fence: "1", tenantId, type: "export", correlationId: null, lane },
          ]);
        }
      }),
    ],
  });
  const inputs = ["a", "b"].flatMap((tenantId) =>
    [0, 1, 2].map((n) => ({ tenantId, payload: { n } })),
  );
  await enqueueMany(app.database.pool, exportJob, inputs);
  await createEventSender(app.client)([windowEvent()]);
  await app.engine.settled();
  expect(ran.toSorted()).toEqual(["a 0", "a 1", "a 2", "b 0", "b 1", "b 2"]);
  expect(most).toBe(1);
  expect(outcomes()).toEqual([
    ...Array.from({ length: 2 }, () => "skipped"),
    ...Array.from({ length: 6 }, () => "succeeded"),
  ]);
  expect(await app.ledger.jobs.counts()).toMatchObject({ succeeded: 6, retried: 0 });
});

test("a run of an isolated job that is cancelled files no letter: its job is delegated again", async () => {
  app = await createBackgroundApp({
    handlers: [handleJob(exportJob, async () => {})],
    wrapRunner: () => ({ runOne: () => Promise.reject(new Error("The host is away.")) }),
  });
  await enqueueMany(app.database.pool, exportJob, [{ tenantId: "a", payload: { n: 1 } }]);
  await createEventSender(app.client)([windowEvent()]);
  await app.engine.settled();
  const [run] = app.engine.runs({ function: "app-run-isolated-job" });
  expect(app.engine.cancel(run?.id ?? "")).toBe(true);
  await app.engine.settled();
  const operator = app.ledger.asOperator("test");
  expect(await operator.deadLetters.list()).toEqual([]);
  const functionId = "app-run-isolated-job";
  expect(await operator.runs.find({ runId: run?.id ?? "", functionId })).toMatchObject({
    status: "CANCELLED",
  });
  await app.advance(5 * 60_000);
  await createEventSender(app.client)([windowEvent()]);
  await app.engine.settled();
  expect(app.engine.runs({ function: functionId })).toHaveLength(2);
});
