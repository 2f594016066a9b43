import { parseArgs } from "node:util";

import { compareBuilds } from "./compare.ts";
import { printReport, type BenchReport } from "./report.ts";

const usage = `Usage: pnpm bench <name> [--quick] [--json]

  dispatch    ticks against a durable Postgres and an engine over HTTP
  impact      a product's route while a backlog drains: inside the cron request, and dispatch-only
  migrations  how long writers wait while the ledger migrates over a million rows per table
  queue       the job queue beside graphile-worker and pg-boss
  engine      the embedded engine in process

Side by side with another build: pnpm bench <name> --against <its folder> [--rounds 5]`;

const { values, positionals } = parseArgs({
  args: process.argv.slice(2).filter((arg) => arg !== "--"),
  allowPositionals: true,
  options: {
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    against: { type: "string" },
    rounds: { type: "string", default: "5" },
  },
});

type Bench = (options: { readonly quick: boolean }) => Promise<BenchReport>;

/** What they import has to be built first, which the root script sees to, and only what is asked for is loaded. */
const benches = new Map<string, () => Promise<Bench>>([
  ["dispatch", async () => (await import("./dispatch-bench.ts")).benchDispatch],
  ["impact", async () => (await import("./impact-bench.ts")).benchImpact],
  ["migrations", async () => (await import("./migrations-bench.ts")).benchMigrations],
  ["queue", async () => (await import("./queue-bench.ts")).benchQueue],
  ["engine", async () => (await import("./engine-bench.ts")).benchEngine],
]);

const name = positionals[0] ?? "";
const load = benches.get(name);
if (load !== undefined && values.against !== undefined) {
  compareBuilds(name, values.against, Number(values.rounds));
} else if (load !== undefined) {
  const bench = await load();
  const ok = printReport(await bench({ quick: values.quick }), values.json);
  process.exitCode = ok ? 0 : 1;
} else {
  console.error(usage);
  process.exitCode = 2;
}
