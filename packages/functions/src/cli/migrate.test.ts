import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createLedger, openPool } from "@evenkeel/ledger";
import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import { afterEach, beforeEach, expect, test } from "vitest";

let database: TestDatabase;
let folder: string;
beforeEach(async () => {
  database = await createTestDatabase({ migrated: false });
  folder = await mkdtemp(join(tmpdir(), "evenkeel-migrate-"));
});
afterEach(async () => {
  await database.drop();
  await rm(folder, { recursive: true, force: true });
});

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the command in an empty folder, with no other variables. */
function run(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Outcome> {
  const command = join(import.meta.dirname, "migrate.ts");
  const all = ["--conditions=@evenkeel/source", command, ...args];
  return new Promise((resolve) => {
    execFile(process.execPath, all, { cwd: folder, env: { ...env } }, (error, stdout, stderr) => {
      resolve({ code: Number(error?.code ?? 0), stdout, stderr });
    });
  });
}

test("it migrates the database of DATABASE_URL, and again without a change", async () => {
  const env = { DATABASE_URL: `${database.databaseUrl}\n` };
  const first = await run([], env);
  expect(first).toMatchObject({ code: 0, stderr: "" });
  expect(first.stdout).toMatch(/^applied \d{14}_baseline\n/u);
  await createLedger({ pool: database.pool }).ping();
  expect(await run([], env)).toEqual({ code: 0, stdout: "the schema is up to date\n", stderr: "" });
});

test("it reads .env.local before .env, and the environment before both", async () => {
  await writeFile(join(folder, ".env"), `DATABASE_URL=postgresql://127.0.0.1:1/none`);
  await writeFile(join(folder, ".env.local"), `DATABASE_URL="${database.databaseUrl}"`);
  expect(await run([])).toMatchObject({ code: 0, stderr: "" });
  const elsewhere = await run([], { DATABASE_URL: "postgresql://127.0.0.1:1/none" });
  expect(elsewhere).toMatchObject({ code: 1, stdout: "" });
  expect(elsewhere.stderr).toContain("No Postgres answers at 127.0.0.1:1/none.");
});

test("with --grant-to another user can work, and not migrate", async () => {
  const { pool } = database;
  const user = `app_${process.pid}`;
  await pool.query(`CREATE ROLE ${user} LOGIN PASSWORD 'hunter2'`);
  const url = new URL(database.databaseUrl);
  url.username = user;
  url.password = "hunter2";
  const own = openPool(url.href);
  try {
    const granted = await run(["--grant-to", user], { DATABASE_URL: database.databaseUrl });
    expect(granted).toMatchObject({ code: 0, stderr: "" });
    expect(granted.stdout).toContain(`granted to ${user}\n`);
    expect(await createLedger({ pool: own }).checkGrants()).toEqual([]);
  } finally {
    await own.end();
    await pool.query(`DROP OWNED BY ${user}`);
    await pool.query(`DROP ROLE ${user}`);
  }
});

test("a call that makes no sense says what would", async () => {
  const unset = await run([]);
  expect(unset).toMatchObject({ code: 2, stdout: "" });
  expect(unset.stderr).toContain("DATABASE_URL is not set");
  const unknown = await run(["--grant"], { DATABASE_URL: database.databaseUrl });
  expect(unknown.code).toBe(2);
  expect(unknown.stderr).toContain("--grant-to <user>");
  expect(await run(["--help"])).toMatchObject({ code: 0, stderr: "" });
});
