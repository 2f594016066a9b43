import { once } from "node:events";

import { listenForTheEnd } from "./interruption.ts";
import { readOptions, usage } from "./options.ts";
import { createProgress } from "./progress.ts";
import { conclude, formatResult } from "./result.ts";
import { buildEverything } from "./system/build.ts";
import { Teardown } from "./system/teardown.ts";

const teardown = new Teardown();
const signal = listenForTheEnd();

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2));
  if (options === "help") {
    console.log(usage);
    return 0;
  }
  const progress = createProgress(options.json ? process.stderr : process.stdout);
  progress.say("Building");
  await buildEverything(teardown, signal);
  // It imports what was just built.
  const { runDemo } = await import("./demo.ts");
  const run = await runDemo({
    mails: options.mails,
    faults: options.faults,
    progress,
    teardown,
    signal,
  });
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
  process.stderr.write(`${signal.aborted ? "Stopped." : message}\n`);
  process.exitCode = signal.aborted ? 130 : 1;
} finally {
  await teardown.run();
  // Nothing is left to wait for; a kept-alive socket must not hold the process.
  process.exit();
}
