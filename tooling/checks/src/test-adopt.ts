import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

import { startPostgres, type PostgresCluster } from "@evenkeel/test-postgres";
import { Client } from "pg";

import { followGuide } from "./adopt/guide.ts";
import { followPnpmLines } from "./adopt/pnpm-line.ts";
import { followQuickStart, type QuickStart, type WayIn } from "./adopt/quick-start.ts";
import { packPackage, servePackages, type PackedRegistry } from "./packed-packages.ts";

/*
 * Adopts Evenkeel as the pages say: the way from an empty folder to a job done of the README, and the guide of
 * docs/adopt.md in a product of its own. Both outside the workspace, with our packages as they are published, which a
 * registry of this machine serves; all else comes from the registry that npm has.
 *
 *   pnpm test:adopt [pnpm] [quick-start] [guide]
 *
 * What a reader writes is asserted; how long it takes is a report. Exits with 1 when something does not hold, with 2
 * when there is no registry and nothing could be checked.
 */
const root = join(import.meta.dirname, "..", "..", "..");
const packages = ["core", "events", "ledger", "jobs", "dispatch", "functions", "engine"];
const bars = { files: 3, lines: 25, seconds: 120 };

const wanted = process.argv.slice(2);
const work = await mkdtemp(join(tmpdir(), "evenkeel-adopt-"));
const opened: { cluster?: PostgresCluster; registry?: PackedRegistry } = {};
try {
  process.exitCode = await check();
} finally {
  await opened.registry?.close();
  await opened.cluster?.stop();
  await rm(work, { recursive: true, force: true, maxRetries: 5 });
}

async function check(): Promise<number> {
  if (!(await hasRegistry())) {
    console.error(
      "NOT CHECKED: no npm registry answers. Whether the README and docs/adopt.md lead to a job done is not known. Run this where the registry can be reached.",
    );
    return 2;
  }
  const packed = [];
  for (const name of packages) packed.push(await packPackage(root, name, work));
  opened.registry = await servePackages(packed);
  opened.cluster = await startPostgres({ durable: false });
  const env = await readerEnvironment(opened.registry);
  let failures = 0;
  const { url: registryUrl } = opened.registry;
  const parts = { pnpm: checkPnpm, "quick-start": checkQuickStart, guide: checkGuide };
  for (const [name, part] of Object.entries(parts)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    const folder = join(work, name);
    await mkdir(folder);
    const databaseUrl = await createDatabase(opened.cluster, name.replace("-", "_"));
    const problems = await part({ root, folder, databaseUrl, env, registryUrl }).catch(
      (error: unknown) => [error instanceof Error ? error.message : String(error)],
    );
    for (const problem of problems) console.error(`FAILED  ${name}: ${problem}`);
    if (problems.length === 0) console.log(`ok      ${name}`);
    failures += problems.length;
  }
  return failures === 0 ? 0 : 1;
}

async function checkPnpm(way: WayIn): Promise<string[]> {
  await followPnpmLines(way);
  return [];
}

async function checkQuickStart(way: WayIn): Promise<string[]> {
  const done = await followQuickStart(way);
  report(done);
  const problems: string[] = [];
  if (done.files > bars.files)
    problems.push(`It asks for ${done.files} files, over ${bars.files}.`);
  if (done.lines > bars.lines)
    problems.push(`It asks for ${done.lines} lines, over ${bars.lines}.`);
  return problems;
}

async function checkGuide(way: WayIn): Promise<string[]> {
  await followGuide(way);
  return [];
}

function report({ files, lines, steps }: QuickStart): void {
  const sum = (isDownload: boolean): number =>
    steps.reduce((all, step) => (step.isDownload === isDownload ? all + step.seconds : all), 0);
  for (const { name, seconds, isDownload } of steps) {
    console.log(`${seconds.toFixed(1).padStart(7)} s ${isDownload ? "(download) " : ""}${name}`);
  }
  console.log(`${files} files, ${lines} lines (bars: ${bars.files}, ${bars.lines})`);
  console.log(
    `${sum(false).toFixed(0)} s, and ${sum(true).toFixed(0)} s of download and installation (bar, not asserted: ${bars.seconds} s)`,
  );
}

async function hasRegistry(): Promise<boolean> {
  const run = promisify(execFile);
  return run("npm", ["view", "pg", "version", "--fetch-retries=0"], { cwd: work }).then(
    () => true,
    () => false,
  );
}

/** A reader's environment: Node of today, no variables of ours, and our packages from where they are packed. */
async function readerEnvironment(registry: PackedRegistry): Promise<NodeJS.ProcessEnv> {
  const { stdout } = await promisify(execFile)("npm", ["config", "get", "globalconfig"]);
  const given = await readFile(stdout.trim(), "utf8").catch(() => "");
  const config = join(work, "npmrc");
  await writeFile(config, `${given}\n@evenkeel:registry=${registry.url}\n`);
  const kept = Object.entries(process.env).filter(
    ([name]) =>
      !/^(?:npm_|pnpm_|NODE_(?!EXTRA_CA)|INNGEST_|BACKGROUND_|CRON_|DATABASE_|TURBO_|VITEST)/iu.test(
        name,
      ),
  );
  return {
    ...Object.fromEntries(kept),
    PATH: `${dirname(process.execPath)}:${process.env["PATH"] ?? ""}`,
    npm_config_globalconfig: config,
    npm_config_yes: "true",
    npm_config_audit: "false",
    npm_config_fund: "false",
    NEXT_TELEMETRY_DISABLED: "1",
    NO_COLOR: "1",
  };
}

async function createDatabase(cluster: PostgresCluster, name: string): Promise<string> {
  const client = new Client({ connectionString: cluster.url() });
  await client.connect();
  await client.query(`CREATE DATABASE ${name}`);
  await client.end();
  return cluster.url(name);
}
