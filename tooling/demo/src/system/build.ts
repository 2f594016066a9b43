import { join } from "node:path";

import { root } from "../paths.ts";
import { startChild } from "./child.ts";
import type { Teardown } from "./teardown.ts";

/** Builds what the demo runs; nothing is done where nothing changed. */
export async function buildEverything(teardown: Teardown, signal: AbortSignal): Promise<void> {
  await build([], teardown, signal);
}

/** Builds packages by their folders' names, and all that web and worker stand on where none is named. */
export async function buildPackages(
  names: readonly string[],
  teardown: Teardown,
  signal: AbortSignal,
): Promise<void> {
  const filters = names.map((name) => `--filter=./packages/${name}`);
  const usual = ["--filter=@evenkeel/web^...", "--filter=@evenkeel/worker^..."];
  await build(names.length === 0 ? usual : filters, teardown, signal);
}

async function build(
  filters: readonly string[],
  teardown: Teardown,
  signal: AbortSignal,
): Promise<void> {
  const turbo = startChild({
    name: "the build",
    command: join(root, "node_modules", ".bin", "turbo"),
    args: ["run", "build", "--log-order=grouped", "--output-logs=errors-only", ...filters],
    cwd: root,
    environment: { NEXT_TELEMETRY_DISABLED: "1", TURBO_TELEMETRY_DISABLED: "1" },
    keptLines: 200,
  });
  teardown.add("the build", () => turbo.stop());
  const code = await turbo.ended;
  signal.throwIfAborted();
  if (code !== 0) throw new Error(`The build failed:\n${turbo.lastLines()}`);
}
