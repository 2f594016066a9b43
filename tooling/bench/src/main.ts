import { parseArgs } from "node:util";

import type { BenchSize } from "./bench-size.ts";
import { compareBuilds } from "./compare.ts";
import { printReport, type BenchReport } from "./report.ts";

const usage = `Usage: pnpm bench <name> [--quick | --smoke] [--json] [--rounds 5]

  dispatch    ticks against a durable Postgres and an engine over HTTP
  impact      a product's route while a backlog drains: inside the cron request, and dispatch-only
  migrations  how long writers wait while the ledger migrates over a million rows per table
  queue       the job queue beside graphile-worker, pg-boss and BullMQ
  claims      the claim alone: backlogs, work for tomorrow, types, limits, an idle transaction
  engine      the embedded engine in process
  cost        what Inngest would bill, by the engine's count: idle, in steady flow, a month at 0 to 100 M jobs

--rounds is for queue and claims, and for a comparison; --only <part of a name> chooses scenarios of claims.
Side by side with another build: pnpm bench <name> --against <its folder> [--rounds 5]`;

const { values, positionals } = parseArgs({
  args: process.argv.slice(2).filter((arg) => arg !== "--"),
  allowPositionals: true,
  options: {
    quick: { type: "boolean", default: false },
    smoke: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    against: { type: "string" },
    rounds: { type: "string" },
    only: { type: "string" },
  },
});

interface BenchOptions {
  readonly size: BenchSize;
  /** `undefined`: as many as the bench takes by default. */
  readonly rounds: number | undefined;
}

type Bench = (options: BenchOptions) => Promise<BenchReport>;

/** What they import has to be built first, which the root script sees to, and only what is asked for is loaded. */
const benches = new Map<string, () => Promise<Bench>>([
  ["dispatch", async () => (await import("./dispatch-bench.ts")).benchDispatch],
  ["impact", async () => (await import("./impact-bench.ts")).benchImpact],
  ["migrations", async () => (await import("./migrations-bench.ts")).benchMigrations],
  ["queue", async () => (await import("./queue-bench.ts")).benchQueue],
  ["claims", loadClaims],
  ["engine", loadEngine],
  ["cost", async () => (await import("./cost-bench.ts")).benchCost],
]);

/** It compares by itself, scenario by scenario. */
async function loadClaims(): Promise<Bench> {
  const { benchClaims } = await import("./claims-bench.ts");
  const { against, only } = values;
  return async ({ size, rounds = against === undefined ? 1 : 5 }) =>
    benchClaims({ quick: size !== "full", rounds, against, only });
}

async function loadEngine(): Promise<Bench> {
  const { benchEngine } = await import("./engine-bench.ts");
  return async ({ size }) => benchEngine({ quick: size !== "full" });
}

const name = positionals[0] ?? "";
const load = benches.get(name);
const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
if (rounds !== undefined && !(Number.isInteger(rounds) && rounds > 0)) {
  throw new Error(`--rounds must be a whole number from 1, and not ${values.rounds}.`);
}
if (load !== undefined && values.against !== undefined && name !== "claims") {
  compareBuilds(name, values.against, rounds ?? 5);
} else if (load !== undefined) {
  const bench = await load();
  const lessened = values.smoke ? "smoke" : "quick";
  const size: BenchSize = values.smoke || values.quick ? lessened : "full";
  const ok = printReport(await bench({ size, rounds }), values.json);
  process.exitCode = ok ? 0 : 1;
} else {
  console.error(usage);
  process.exitCode = 2;
}
