import { once } from "node:events";

import { findStarters, isRunning } from "./ancestors.ts";
import { buildEverything } from "./build.ts";
import { readOptions, usage } from "./options.ts";
import { createProgress } from "./progress.ts";
import { conclude, formatResult } from "./result.ts";
import { Teardown } from "./teardown.ts";

const teardown = new Teardown();
const interruption = new AbortController();

/** Ctrl-C, and the end of the shell or the package manager that started this. */
function listenForTheEnd(): void {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => interruption.abort(new Error(`Stopped by ${signal}.`)));
  }
  const starters = findStarters();
  setInterval(() => {
    if (!starters.every(isRunning)) interruption.abort(new Error("The starting process is gone."));
  }, 500).unref();
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2));
  if (options === "help") {
    console.log(usage);
    return 0;
  }
  listenForTheEnd();
  const progress = createProgress(options.json ? process.stderr : process.stdout);
  const { signal } = interruption;
  progress.say("Building");
  await buildEverything(teardown, signal);
  // It imports what was just built.
  const { runDemo } = await import("./demo.ts");
  const run = await runDemo({ mails: options.mails, progress, teardown, signal });
  progress.end();
  const result = conclude(run);
  (options.json ? process.stderr : process.stdout).write(`${formatResult(result)}\n`);
  if (options.json) console.log(JSON.stringify(result));
  if (options.keep) {
    const names = Object.entries(run.addresses).map(
      ([name, value]) => `  ${name.padEnd(12)}${value}`,
    );
    process.stderr.write(`Everything runs until Ctrl-C:\n${names.join("\n")}\n`);
    if (!signal.aborted) await once(signal, "abort");
  }
  return result.checks.every(({ ok }) => ok) ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`${interruption.signal.aborted ? "Stopped." : message}\n`);
  process.exitCode = interruption.signal.aborted ? 130 : 1;
} finally {
  await teardown.run();
  // Nothing is left to wait for; a kept-alive socket must not hold the process.
  process.exit();
}
