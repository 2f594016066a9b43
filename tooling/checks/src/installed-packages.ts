import { execFile } from "node:child_process";
import { lstat, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { startPostgres, type PostgresCluster } from "@evenkeel/test-postgres";
import { Client } from "pg";

/*
 * Installs what a product installs: packs core, ledger and jobs as they are published, lets npm install the
 * tarballs into an empty folder, measures it, checks its types, and runs a job with it. Once with the newest dependencies
 * that the packages allow, once with the oldest.
 *
 *   pnpm test:install
 *
 * Exits with 1 when something does not hold, with 2 when there is no registry and nothing could be checked.
 */
const root = join(import.meta.dirname, "..", "..", "..");
const packages = ["core", "ledger", "jobs"];
const maxBytes = 20_000_000;

/** Beside the tarballs: nothing, or the oldest versions inside the ranges of the packages. */
const cases: ReadonlyMap<string, readonly string[]> = new Map([
  ["newest dependencies", []],
  ["oldest dependencies", ["pg@8.16.0", "zod@4.0.0"]],
]);

/** The whole way of a job, with nothing but what was installed. */
const product = `
import { createRunner, defineJob, enqueue, handleJob, upcaster, type AnyJobDefinition } from "@evenkeel/jobs";
import { createLedger } from "@evenkeel/ledger";
import pg from "pg";
import { z } from "zod";

const pool = new pg.Pool({ connectionString: process.argv[2] ?? "" });
const ledger = createLedger({ pool });
await ledger.migrate();
const first = z.object({ who: z.string() });
const second = z.object({
  name: z.string(),
  length: z.string().transform((text) => text.length).optional(),
  at: z.coerce.date().optional(),
  with: z.discriminatedUnion("kind", [z.object({ kind: z.literal("a"), is: z.boolean().default(true) })]),
  get next() {
    return z.array(z.lazy(() => first));
  },
});
const greet = defineJob({
  type: "greet",
  version: 2,
  payload: second,
  result: z.object({ greeted: z.number() }),
  upcast: { 1: upcaster({ from: first }, ({ who }) => ({ name: who, with: { kind: "a" }, next: [] })) },
  unique: { key: ({ name }) => name, states: ["PENDING"] },
});
const definitions: readonly AnyJobDefinition[] = [greet];
const row = { name: "Ada", length: "four", with: { kind: "a" as const }, next: [], passwordHash: "x" };
const { id } = await enqueue(pool, greet, { tenantId: "acme", payload: row, unique: "ada" });
const stored = await ledger.forTenant("acme").jobs.find(id);
const text = JSON.stringify(stored?.payload);
if (text.includes("passwordHash") || !text.includes("four")) throw new Error(text);
const refused = await enqueue(pool, greet, { tenantId: "", payload: row }).catch(String);
if (!String(refused).startsWith("InputError: ")) throw new Error("An error lost its name: " + refused);
let dated: unknown;
try {
  defineJob({ type: "dated", version: 1, payload: z.object({ sentAt: z.date() }) });
} catch (error) {
  dated = error;
}
if (!String(dated).startsWith("JobError: Job dated at payload.sentAt: ")) throw new Error(String(dated));
const greeted: string[] = [];
const handler = handleJob(greet, async ({ payload }) => {
  if (payload.length === 4 && payload.with.is) greeted.push(payload.name);
  return { greeted: definitions.length };
});
const runner = createRunner({ ledger, handlers: [handler], owner: "product" });
const { succeeded } = await runner.drain({ budgetMs: 20_000 });
const { windows } = await ledger.report();
await ledger.close();
await pool.end();
if (succeeded !== 1 || greeted[0] !== "Ada" || windows.total !== 0) throw new Error("No job ran.");
`;

/** As strict as a product can be: the packages' own declarations are checked too. */
const typeCheck =
  "--noEmit --strict --skipLibCheck false --module nodenext --target es2023 --types node".split(
    " ",
  );

const bundle =
  "--format esm --target node22 --minify --silent --no-config --no-dts --noExternal @evenkeel/jobs --noExternal @evenkeel/ledger --noExternal @evenkeel/core".split(
    " ",
  );

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
  const tarballs = await Promise.all(packages.map(pack));
  cluster.running = await startPostgres({ durable: false });
  let failures = 0;
  for (const [name, versions] of cases) {
    const problems = await install(name, [...tarballs, ...versions], cluster.running);
    for (const problem of problems) console.error(`FAILED  ${name}: ${problem}`);
    failures += problems.length;
  }
  return failures === 0 ? 0 : 1;
}

/** Packs a package with its `publishConfig` applied. Returns the tarball's path. */
async function pack(name: string): Promise<string> {
  const folder = join(work, name);
  await mkdir(folder);
  const pnpm = join(root, "node_modules", ".bin", "pnpm");
  await run(pnpm, ["pack", "--pack-destination", folder], join(root, "packages", name));
  const [tarball] = await readdir(folder);
  if (tarball === undefined) throw new Error(`pnpm packed nothing in packages/${name}.`);
  return join(folder, tarball);
}

/** Installs into a folder of its own and uses what is there. Returns one line per problem. */
async function install(
  name: string,
  wanted: readonly string[],
  postgres: PostgresCluster,
): Promise<string[]> {
  const folder = await mkdtemp(join(work, "product-"));
  const manifest = { name: "product", private: true, type: "module" };
  await writeFile(join(folder, "package.json"), JSON.stringify(manifest));
  await run("npm", ["install", "--no-audit", "--no-fund", ...wanted], folder);
  const files = await listFiles(join(folder, "node_modules"));
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  const problems: string[] = [];
  if (bytes > maxBytes)
    problems.push(`${megabytes(bytes)} are installed, over ${megabytes(maxBytes)}.`);
  const strangers = files.filter(({ path }) => /[\\/]@?prisma[\\/]/u.test(path));
  if (strangers.length > 0) problems.push(`Prisma is installed: ${strangers[0]?.path ?? ""}.`);
  const zods = files.filter(({ path }) => /[\\/]zod[\\/]package\.json$/u.test(path));
  if (zods.length !== 1)
    problems.push(`zod is installed ${zods.length} times; schemas would differ.`);
  await writeFile(join(folder, "product.ts"), product);
  const database = `install_${name.replaceAll(/\W/gu, "_")}`;
  await createDatabase(postgres, database);
  const bin = join(root, "node_modules", ".bin");
  const uses: [program: string, args: string[]][] = [
    [join(bin, "tsc"), [...typeCheck, "product.ts"]],
    [process.execPath, ["product.ts", postgres.url(database)]],
    // As a product bundles it: minified, with our packages inside.
    [join(bin, "tsup"), ["product.ts", ...bundle]],
    [process.execPath, [join("dist", "product.js"), postgres.url(database)]],
  ];
  for (const [program, args] of uses) {
    await run(program, args, folder).catch((error: unknown) => problems.push(describe(error)));
  }
  console.log(
    `${problems.length === 0 ? "ok    " : "FAILED"}  ${name}: ${megabytes(bytes)} in ${files.length} files (at most ${megabytes(maxBytes)})`,
  );
  return problems;
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
  return "stdout" in error ? `${error.message}${String(error.stdout)}` : error.message;
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
