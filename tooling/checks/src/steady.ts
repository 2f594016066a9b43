import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { describeRun, type JsonReport } from "./steady-report.ts";
import { root, vitestCommand } from "./vitest-command.ts";

/*
 * Runs the tests again and again while every core is busy with something else: a test that depends on how fast it
 * is, or on what happens first, fails here and not at somebody's desk.
 *
 *   pnpm test:steady [--runs N, 10 by default] [file …]
 */
const { values, positionals } = parseArgs({
  args: process.argv.slice(2).filter((arg) => arg !== "--"),
  options: { runs: { type: "string", default: "10" } },
  allowPositionals: true,
});
const runs = Number(values.runs);
if (!Number.isInteger(runs) || runs < 1) {
  console.error(`--runs must be a whole number from 1; got ${values.runs}.`);
  process.exitCode = 2;
} else {
  process.exitCode = (await play(runs, positionals)) ? 0 : 1;
}

/** Plays so many runs; resolves to whether each passed and none was stopped. */
async function play(count: number, files: readonly string[]): Promise<boolean> {
  const folder = await mkdtemp(join(tmpdir(), "evenkeel-steady-"));
  const stop = new AbortController();
  const onSignal = (): void => stop.abort();
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  const load = startLoad();
  let failed = 0;
  let played = 0;
  try {
    for (; played < count && !stop.signal.aborted; played += 1) {
      const startedAtMs = performance.now();
      const output = join(folder, `${played}.json`);
      const status = await runTests(output, files, stop.signal);
      if (stop.signal.aborted) break;
      const report = await readReport(output);
      const seconds = (performance.now() - startedAtMs) / 1_000;
      const isGood = status === 0 && report !== undefined;
      if (!isGood) failed += 1;
      console.log(describeRun({ run: played + 1, of: count, seconds, isGood, report, root }));
    }
  } finally {
    for (const child of load) child.kill("SIGKILL");
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
    await rm(folder, { recursive: true, force: true });
  }
  const stopped = played < count ? `, stopped before the other ${count - played}` : "";
  console.log(`${played - failed} of ${played} runs passed${stopped}.`);
  return failed === 0 && played === count;
}

/** One endless loop per core, at normal priority. Each ends by itself when this process is gone. */
function startLoad(): ChildProcess[] {
  const loop = `process.on("disconnect", () => process.exit());
    (function spin() { const until = Date.now() + 200; while (Date.now() < until); setImmediate(spin); })();`;
  return Array.from({ length: availableParallelism() }, () => {
    return spawn(process.execPath, ["-e", loop], { stdio: ["ignore", "ignore", "ignore", "ipc"] });
  });
}

/** Runs the tests once; resolves to the exit code. At a stop it asks vitest to end, and waits for that. */
async function runTests(
  output: string,
  files: readonly string[],
  signal: AbortSignal,
): Promise<number> {
  const args = [...vitestCommand.args, "--reporter=json", `--outputFile=${output}`, ...files];
  const child = spawn(vitestCommand.file, args, {
    cwd: root,
    stdio: ["ignore", "ignore", "inherit"],
  });
  const onStop = (): void => void child.kill("SIGINT");
  signal.addEventListener("abort", onStop);
  try {
    const [code]: (number | null)[] = await once(child, "exit");
    return code ?? 1;
  } finally {
    signal.removeEventListener("abort", onStop);
  }
}

async function readReport(output: string): Promise<JsonReport | undefined> {
  const text = await readFile(output, "utf8").catch(() => undefined);
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- vitest's own format
  return text === undefined ? undefined : (JSON.parse(text) as JsonReport);
}
