import { execFile } from "node:child_process";
import { copyFile, lstat, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { startPostgres, type PostgresCluster } from "@evenkeel/test-postgres";
import { Client } from "pg";

import { packPackage } from "./packed-packages.ts";

/*
 * Installs what a product installs: packs our packages as they are published, lets npm install the tarballs into an
 * empty folder, measures it, counts the copies of zod and inngest, checks its types, and runs a job with it, also as
 * a minified bundle. Once with the newest dependencies that the packages allow, once with the oldest.
 *
 *   pnpm test:install
 *
 * Exits with 1 when something does not hold, with 2 when there is no registry and nothing could be checked.
 */
const root = join(import.meta.dirname, "..", "..", "..");

/** What is installed, and the program in `installed/` that uses it. */
interface Product {
  readonly program: string;
  readonly packages: readonly string[];
  /** Beside the tarballs: nothing, or the oldest versions inside the ranges of the packages. */
  readonly versions: readonly string[];
  /** What may not be installed twice: a schema or a client of another copy would be a stranger. */
  readonly single: readonly string[];
  readonly maxBytes: number;
  /** Whether it runs once more as a minified bundle. */
  readonly isBundled: boolean;
  /** Whether the declarations of all packages are checked; Inngest's need those of every framework. */
  readonly skipLibCheck: boolean;
}

const jobs = {
  program: "jobs-product.ts",
  packages: ["core", "ledger", "jobs"],
  single: ["zod"],
  maxBytes: 20_000_000,
  isBundled: true,
  skipLibCheck: false,
};
const functions = {
  program: "functions-product.ts",
  packages: [...jobs.packages, "events", "dispatch", "functions"],
  single: ["zod", "inngest"],
  maxBytes: Number.POSITIVE_INFINITY,
  isBundled: false,
  skipLibCheck: true,
};
const testing = {
  ...functions,
  program: "testing-product.ts",
  packages: [...functions.packages, "engine", "testing"],
};
const cases: ReadonlyMap<string, Product> = new Map([
  ["jobs, newest dependencies", { ...jobs, versions: [] }],
  ["jobs, oldest dependencies", { ...jobs, versions: ["pg@8.16.0", "zod@4.0.0"] }],
  ["functions, oldest dependencies", { ...functions, versions: ["zod@4.0.0", "inngest@4.24.0"] }],
  ["testing, newest dependencies", { ...testing, versions: ["inngest@^4.24.0"] }],
]);

/** As strict as a product can be. */
const typeCheck = "--noEmit --strict --module nodenext --target es2023 --types node".split(" ");

/** A product's bundler: minified, with our packages inside. */
const bundling = `export default {
  format: "esm", target: "node22", minify: true, silent: true,
  noExternal: [/^@evenkeel\\//], external: ["pg", "zod"],
};`;

const work = await mkdtemp(join(tmpdir(), "evenkeel-install-"));
const cluster: { running?: PostgresCluster } = {};
try {
  process.exitCode = await check();
} finally {
  await cluster.running?.stop();
  await rm(work, { recursive: true, force: true });
}

async function check(): Promise<number> {
  const registry = (await run("npm", ["config", "get", "registry"], work)).trim();
  const reached = await run("npm", ["view", "pg", "version", "--fetch-retries=0"], work).then(
    () => true,
    () => false,
  );
  if (!reached) {
    console.error(
      `NOT CHECKED: no npm registry answers at ${registry}. What a product installs, and how large it is, is not known. Run this where the registry can be reached.`,
    );
    return 2;
  }
  const tarballs = new Map<string, string>();
  for (const name of testing.packages) {
    tarballs.set(name, (await packPackage(root, name, work)).tarball);
  }
  cluster.running = await startPostgres({ durable: false });
  let failures = 0;
  for (const [name, product] of cases) {
    const packed = product.packages.flatMap((each) => tarballs.get(each) ?? []);
    const problems = await install(name, product, packed, cluster.running);
    for (const problem of problems) console.error(`FAILED  ${name}: ${problem}`);
    failures += problems.length;
  }
  return failures === 0 ? 0 : 1;
}

/** Installs into a folder of its own and uses what is there. Returns one line per problem. */
async function install(
  name: string,
  { program, versions, single, maxBytes, isBundled, skipLibCheck }: Product,
  tarballs: readonly string[],
  postgres: PostgresCluster,
): Promise<string[]> {
  const folder = await mkdtemp(join(work, "product-"));
  const manifest = { name: "product", private: true, type: "module" };
  await writeFile(join(folder, "package.json"), JSON.stringify(manifest));
  await run("npm", ["install", "--no-audit", "--no-fund", ...tarballs, ...versions], folder);
  const files = await listFiles(join(folder, "node_modules"));
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  const problems: string[] = [];
  if (bytes > maxBytes)
    problems.push(`${megabytes(bytes)} are installed, over ${megabytes(maxBytes)}.`);
  const strangers = files.filter(({ path }) => /[\\/]@?prisma[\\/]/u.test(path));
  if (strangers.length > 0) problems.push(`Prisma is installed: ${strangers[0]?.path ?? ""}.`);
  for (const dependency of single) {
    const copies = await countCopies(dependency, files);
    if (copies !== 1) problems.push(`${dependency} is installed ${copies} times.`);
  }
  await copyFile(join(import.meta.dirname, "installed", program), join(folder, "product.ts"));
  await writeFile(join(folder, "tsup.config.mjs"), bundling);
  const database = `install_${name.replaceAll(/\W/gu, "_")}`;
  await createDatabase(postgres, database);
  const bin = join(root, "node_modules", ".bin");
  const uses: [program: string, args: string[]][] = [
    [join(bin, "tsc"), [...typeCheck, "--skipLibCheck", String(skipLibCheck), "product.ts"]],
    [process.execPath, ["product.ts", postgres.url(database)]],
  ];
  const bundled: typeof uses = [
    [join(bin, "tsup"), ["product.ts"]],
    [process.execPath, [join("dist", "product.js"), postgres.url(database)]],
  ];
  if (isBundled) uses.push(...bundled);
  for (const [program, args] of uses) {
    await run(program, args, folder).catch((error: unknown) => problems.push(describe(error)));
  }
  console.log(
    `${problems.length === 0 ? "ok    " : "FAILED"}  ${name}: ${megabytes(bytes)} in ${files.length} files`,
  );
  return problems;
}

/** How many copies there are, of the major version 4: Inngest brings a zod 3 of its own for its own use. */
async function countCopies(dependency: string, files: readonly InstalledFile[]): Promise<number> {
  const end = join("node_modules", dependency, "package.json");
  const manifests = files.filter(({ path }) => path.endsWith(end));
  const texts = await Promise.all(manifests.map(({ path }) => readFile(path, "utf8")));
  return texts.filter((text) => /"version":\s*"4\./u.test(text)).length;
}

async function createDatabase(postgres: PostgresCluster, name: string): Promise<void> {
  const client = new Client({ connectionString: postgres.url() });
  await client.connect();
  await client.query(`CREATE DATABASE ${name}`);
  await client.end();
}

/** A failed program's message, which names the program, and what it printed. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const text = "stdout" in error ? `${error.message}${String(error.stdout)}` : error.message;
  // Node shows the line of an error, which in a minified file is the file.
  return text.replaceAll(/.{1000,}/gu, "…");
}

interface InstalledFile {
  readonly path: string;
  readonly bytes: number;
}

async function listFiles(folder: string): Promise<InstalledFile[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
  return Promise.all(paths.map(async (path) => ({ path, bytes: (await lstat(path)).size })));
}

function megabytes(bytes: number): string {
  return `${(bytes / 1_000_000).toFixed(1)} MB`;
}

/** Runs a program and returns its output. Rejects with both outputs when it fails. */
async function run(program: string, args: readonly string[], cwd: string): Promise<string> {
  const { stdout } = await promisify(execFile)(program, args, { cwd, maxBuffer: 1 << 26 });
  return stdout;
}
