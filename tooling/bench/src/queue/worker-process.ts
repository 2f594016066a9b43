import { createRunner, handleJob } from "@evenkeel/jobs";

import { benchJob } from "./bench-job.ts";
import { concurrency, nothing } from "./contender.ts";
import { openLedger } from "./evenkeel.ts";
import type { DrainedByProcess } from "./worker-processes.ts";

// One of the processes of worker-processes.ts: it drains once for every message that it gets.

const [databaseUrl = "", owner = ""] = process.argv.slice(2);
const opened = await openLedger(databaseUrl);
const handlers = [handleJob(benchJob, nothing)];
const runner = createRunner({ ledger: opened.ledger, handlers, owner, concurrency });

async function drain(): Promise<void> {
  const before = process.cpuUsage();
  const { succeeded } = await runner.drain({ budgetMs: 3_600_000 });
  const { user, system } = process.cpuUsage(before);
  send({ succeeded, cpuSeconds: (user + system) / 1_000_000 });
}

function send(message: DrainedByProcess): void {
  process.send?.(message);
}

process.on("message", () => void drain());
process.once("disconnect", () => void opened.close());
send({ succeeded: 0, cpuSeconds: 0 });
