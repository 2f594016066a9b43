import { spawnSync } from "node:child_process";

import { root, vitestCommand } from "./vitest-command.ts";

/*
 * Plays the lifecycle model over many sequences; `pnpm test` plays fewer.
 *
 *   pnpm test:model [sequences, 2,000 by default]
 */
const given = process.argv.slice(2).find((arg) => arg !== "--") ?? "2000";
const sequences = Number(given);
if (!Number.isInteger(sequences) || sequences < 1) {
  console.error(`The number of sequences must be a whole number from 1; got ${given}.`);
  process.exitCode = 2;
} else {
  const { status } = spawnSync(
    vitestCommand.file,
    [...vitestCommand.args, "packages/dispatch/src/lifecycle-model.test.ts"],
    {
      cwd: root,
      stdio: "inherit",
      env: { ...process.env, EVENKEEL_MODEL_RUNS: String(sequences) },
    },
  );
  process.exitCode = status ?? 1;
}
