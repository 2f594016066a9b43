import { join } from "node:path";

import { runCommand } from "./command.ts";
import { copyRepository } from "./gates/scratch-copy.ts";
import { trials, type Trial } from "./gates/trials.ts";

/**
 * Makes each mistake in a scratch copy of the repository and sees the gate concerned refuse it, with a message
 * that names the file and the fix. `pnpm test:gates` runs them all; with words after it, the mistakes that
 * hold one of them.
 */
const asked = process.argv.slice(2);
const chosen = trials.filter(
  ({ mistake }) => asked.length === 0 || asked.some((word) => mistake.includes(word)),
);

using scratch = await copyRepository(join(import.meta.dirname, "..", "..", ".."));
let failed = 0;

async function tryGate({ mistake, files, gate, says }: Trial): Promise<void> {
  const startedAtMs = performance.now();
  using _ = scratch.plant(files);
  const [program, ...args] = gate;
  const { ok, output } = await runCommand(scratch.root, program, args);
  // A message may be broken into lines, and coloured.
  // oxlint-disable-next-line no-control-regex -- that is how a colour starts
  const text = output.replaceAll(/\u001B\[[\d;]*m/gu, "").replaceAll(/\s+/gu, " ");
  const unsaid = says.filter((pattern) => !pattern.test(text));
  const seconds = ((performance.now() - startedAtMs) / 1000).toFixed(1);
  if (!ok && unsaid.length === 0) {
    console.log(`ok      ${mistake} (${seconds} s)`);
    return;
  }
  failed += 1;
  console.log(
    `FAILED  ${mistake} (${seconds} s): ${ok ? "it passed" : `unsaid: ${unsaid.join(", ")}`}`,
  );
  console.log(output);
}

for (const trial of chosen) await tryGate(trial);
console.log(`${chosen.length - failed} mistakes refused, ${failed} not`);
process.exitCode = failed === 0 && chosen.length > 0 ? 0 : 1;
