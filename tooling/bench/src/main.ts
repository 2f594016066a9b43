import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";

const usage = `Usage: pnpm bench <name> [--quick] [--json]

  dispatch    ticks against a durable Postgres and an engine over HTTP
  impact      a product's route while a backlog drains: inside the cron request, and dispatch-only
  migrations  how long writers wait while the ledger migrates over a million rows per table
  queue       the job queue beside graphile-worker and pg-boss
  engine      the embedded engine in process`;

const { values, positionals } = parseArgs({
  args: process.argv.slice(2).filter((arg) => arg !== "--"),
  allowPositionals: true,
  options: {
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});

switch (positionals[0] ?? "") {
  case "dispatch": {
    // What it imports has to be built first: the root script sees to that.
    const { benchDispatch } = await import("./dispatch-bench.ts");
    const { printReport } = await import("./report.ts");
    const ok = printReport(await benchDispatch({ quick: values.quick }), values.json);
    process.exitCode = ok ? 0 : 1;
    break;
  }
  case "impact": {
    const { benchImpact } = await import("./impact-bench.ts");
    const { printReport } = await import("./report.ts");
    const ok = printReport(await benchImpact({ quick: values.quick }), values.json);
    process.exitCode = ok ? 0 : 1;
    break;
  }
  case "migrations": {
    const { benchMigrations } = await import("./migrations-bench.ts");
    const { printReport } = await import("./report.ts");
    const ok = printReport(await benchMigrations({ quick: values.quick }), values.json);
    process.exitCode = ok ? 0 : 1;
    break;
  }
  case "queue": {
    const { benchQueue } = await import("./queue-bench.ts");
    const { printReport } = await import("./report.ts");
    const ok = printReport(await benchQueue({ quick: values.quick }), values.json);
    process.exitCode = ok ? 0 : 1;
    break;
  }
  case "engine": {
    const script = join(
      import.meta.dirname,
      "..",
      "..",
      "..",
      "packages",
      "engine",
      "bench",
      "engine-bench.ts",
    );
    const args = values.json ? [script, "--json"] : [script];
    process.exitCode = spawnSync(process.execPath, args, { stdio: "inherit" }).status ?? 1;
    break;
  }
  default:
    console.error(usage);
    process.exitCode = 2;
}
