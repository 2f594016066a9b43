import { spawnSync } from "node:child_process";
import { join } from "node:path";

import { hasPgbouncer } from "@evenkeel/test-postgres/pgbouncer";

/*
 * Runs the ledger's tests through pgbouncer in transaction mode, where it is installed.
 *
 *   pnpm test:pgbouncer [file …]
 */
const root = join(import.meta.dirname, "..", "..", "..");
if (!hasPgbouncer()) {
  console.log("pgbouncer is not installed (Debian: apt-get install pgbouncer); nothing was run.");
} else {
  const given = process.argv.slice(2).filter((arg) => arg !== "--");
  const files =
    given.length > 0 ? given : ["packages/ledger/src", "packages/jobs/src/enqueue.test.ts"];
  const config = join("tooling", "checks", "vitest.config.ts");
  const { status } = spawnSync(
    join(root, "node_modules", ".bin", "vitest"),
    ["run", "--config", config, ...files],
    { cwd: root, stdio: "inherit", env: { ...process.env, EVENKEEL_TEST_POOLER: "pgbouncer" } },
  );
  process.exitCode = status ?? 1;
}
