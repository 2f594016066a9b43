import { createPruner } from "@evenkeel/ledger";
import { afterEach, expect, test } from "vitest";

import {
  createBackgroundApp,
  type BackgroundApp,
  type BackgroundAppOptions,
} from "./testing/background-app.ts";

const open: BackgroundApp[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((app) => app.close()));
});

/** An app with a settled job of last year and one of today, after one window's maintenance. */
async function maintain(options: BackgroundAppOptions): Promise<BackgroundApp> {
  const app = await createBackgroundApp(options);
  open.push(app);
  await app.database.pool.query(
    `INSERT INTO "evenkeel"."background_job_history" ("id", "tenant_id", "type", "version", "payload", "lane",
       "outcome", "run_at", "attempt", "errors", "created_at", "finished_at")
     SELECT -n, 't', 'j', 1, '{}', 'stable', 'SUCCEEDED', at, 1, '[]', at, at
     FROM generate_series(1, 2) AS n, LATERAL (SELECT now() - (n - 1) * interval '1 year' AS at) AS ended`,
  );
  await app.dispatcher.dispatch({ schedule: "background-jobs", source: "cron" });
  await app.engine.settled();
  expect(app.engine.runs({ function: "app-background-maintenance" })).toMatchObject([
    { status: "Completed" },
  ]);
  return app;
}

test("maintenance deletes what is older than it is kept, and logs what", async () => {
  const app = await maintain({
    pruner: (ledger, logger) => createPruner({ ledger, logger }),
  });
  expect((await app.ledger.jobs.counts()).succeeded).toBe(1);
  expect(app.logged).toContainEqual({
    event: "ledger.pruned",
    fields: { pruned: 1, moreToPrune: false, rows: { "jobHistory.SUCCEEDED": 1 } },
  });
  expect(app.logged).toContainEqual({
    event: "maintenance.done",
    fields: expect.objectContaining({ repaired: 0, pruned: 1, moreToPrune: false }),
  });
});

test("without a pruner the ledger keeps everything", async () => {
  const app = await maintain({});
  expect((await app.ledger.jobs.counts()).succeeded).toBe(2);
});

test("a nudge brings maintenance where no tick has for five minutes", async () => {
  const app = await createBackgroundApp({});
  open.push(app);
  await app.dispatcher.nudge({ schedule: "background-jobs", source: "nudge" });
  await app.engine.settled();
  const runs = (): readonly unknown[] =>
    app.engine.runs({ function: "app-background-maintenance", status: "Completed" });
  expect(runs()).toHaveLength(1);
  for (let minute = 1; minute <= 6; minute += 1) {
    await app.advance(60_000);
    await app.dispatcher.nudge({ schedule: "background-jobs", source: "nudge" });
    await app.engine.settled();
  }
  expect(runs()).toHaveLength(2);
});
