import { setTimeout } from "node:timers/promises";

import { createLedger } from "@evenkeel/ledger";

import { handleJob } from "../definition/job-handler.ts";
import { createRunner } from "../runner/runner.ts";
import { countJob } from "./count-job.ts";

/**
 * A worker in a process of its own, for tests that kill it: `node worker-process.ts <database URL> <mode>`.
 * `hold` says `started` on its output for every job and never ends one; `die` kills its own process; `poison` does so
 * in job 0, while the others are at work.
 */
const [databaseUrl = "", mode = ""] = process.argv.slice(2);

const handler = handleJob(countJob, async ({ payload }) => {
  process.stdout.write("started\n");
  if (mode === "poison") {
    await setTimeout(payload.n === 0 ? 20 : 50);
    if (payload.n > 0) return;
  }
  if (mode !== "hold") process.kill(process.pid, "SIGKILL");
  await new Promise(() => {});
});
const ledger = createLedger({ databaseUrl });
// A lease that no pause of a slow machine outlasts: the test ends it.
const leaseMs = 3_600_000;
const owner = `child-${process.pid}`;
const runner = createRunner({ ledger, handlers: [handler], owner, leaseMs });
await runner.drain({ budgetMs: 3_600_000 });
await ledger.close();
