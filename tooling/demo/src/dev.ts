import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { join, relative } from "node:path";

import { startRebuilder } from "./dev/rebuild.ts";
import { startSurroundings, type Surroundings } from "./dev/surroundings.ts";
import { listenForTheEnd } from "./interruption.ts";
import { root } from "./paths.ts";
import { buildPackages } from "./system/build.ts";
import { openDatabase, type DemoDatabase } from "./system/database.ts";
import { Teardown } from "./system/teardown.ts";

/*
 * The developer's loop: Postgres, the engine with ticks, worker and web, which take in what changes, until Ctrl-C.
 *
 *   pnpm dev
 */
const teardown = new Teardown();
const signal = listenForTheEnd();
const logFolder = join(root, "node_modules", ".cache", "evenkeel-dev");

async function main(): Promise<void> {
  console.log("Building the packages");
  await buildPackages([], teardown, signal);
  console.log("Starting Postgres, the engine, the worker and web");
  await mkdir(logFolder, { recursive: true });
  const database = await openDatabase(teardown, signal);
  const surroundings = await startSurroundings({
    databaseUrl: database.url,
    logFolder,
    signal,
    register: (service) => teardown.add(service.name, () => service.stop()),
  });
  const rebuilder = await startRebuilder({
    folder: join(root, "packages"),
    build: (names) => buildPackages(names, teardown, signal),
    say: (text) => console.log(text),
  });
  teardown.add("the watch over packages", () => rebuilder.stop());
  console.log(describe(database, surroundings));
  const failed = surroundings.services.map(async ({ name, logPath, ended }) => {
    await ended;
    if (!signal.aborted) console.error(`${name} has ended; its last words are in ${logPath}`);
  });
  await Promise.race([Promise.all(failed), signal.aborted ? undefined : once(signal, "abort")]);
}

/** Where everything is, one thing to call, and what to try. */
function describe(database: DemoDatabase, { services, ...at }: Surroundings): string {
  const shown = database.restart === undefined ? database.description : database.url;
  return `
  web       ${at.webUrl}
  worker    ${at.workerUrl}
  engine    ${at.engineUrl}  ticks every 60 s
  database  ${shown}

  try       curl -X POST -H "Authorization: Bearer ${at.cronSecret}" ${at.webUrl}/api/cron/background-jobs
  logs      ${services.map(({ logPath }) => relative(process.cwd(), logPath)).join("\n            ")}

  next      change apps/worker/src/background.ts: the worker starts again
            change a file in packages/*/src: the worker starts again at once, web after a build
            open ${at.engineUrl} to see what the engine answers
            pnpm demo shows the main job end to end

Everything runs until Ctrl-C.`;
}

try {
  await main();
} catch (error) {
  process.exitCode = signal.aborted ? 0 : 1;
  if (!signal.aborted)
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
} finally {
  console.log("Stopping");
  await teardown.run();
  // Nothing is left to wait for; a kept-alive socket must not hold the process.
  process.exit();
}
