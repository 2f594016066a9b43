import { spawnSync } from "node:child_process";

import { hasPgbouncer } from "@evenkeel/test-postgres/pgbouncer";

import { root, vitestCommand } from "./vitest-command.ts";

/*
 * Runs the ledger's tests through pgbouncer in transaction mode, where it is installed.
 *
 *   pnpm test:pgbouncer [file …]
 */

/**
 * Left out unless files are named. A pooler changes what one session keeps from a statement to the next, and each
 * statement is sent by another file too: these ask for plans, or send the same statements in a great many orders.
 */
const leftOut = [
  "**/*-plan.test.ts",
  "**/effects-model.test.ts",
  "**/job-transitions.test.ts",
  "**/pruning-repetition.test.ts",
];

if (!hasPgbouncer()) {
  console.log("pgbouncer is not installed (Debian: apt-get install pgbouncer); nothing was run.");
} else {
  const given = process.argv.slice(2).filter((arg) => arg !== "--");
  const files =
    given.length > 0
      ? given
      : [
          "packages/ledger/src",
          "packages/jobs/src/enqueue.test.ts",
          ...leftOut.flatMap((pattern) => ["--exclude", pattern]),
        ];
  const { status } = spawnSync(vitestCommand.file, [...vitestCommand.args, ...files], {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, EVENKEEL_TEST_POOLER: "pgbouncer" },
  });
  process.exitCode = status ?? 1;
}
