import { execFile, execFileSync } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, realpath, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

import { createLedger } from "@evenkeel/ledger";
import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import { afterAll, beforeAll, expect, test } from "vitest";

const builds = ["before-marks", "with-marks"] as const;
type Build = (typeof builds)[number];

const root = join(import.meta.dirname, "..", "..", "..", "..");
let work: string;
beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), "evenkeel-older-builds-"));
  for (const build of builds) {
    const modules = join(work, build, "node_modules");
    await mkdir(modules, { recursive: true });
    execFileSync("tar", ["xzf", join(import.meta.dirname, `${build}.tgz`), "-C", modules]);
    for (const [name, owner] of [
      ["pg", "ledger"],
      ["zod", "jobs"],
    ] as const) {
      const installed = await realpath(join(root, "packages", owner, "node_modules", name));
      await symlink(installed, join(modules, name));
    }
    execFileSync("cp", [join(import.meta.dirname, "program.mjs"), join(work, build)]);
  }
});
afterAll(() => rm(work, { recursive: true, force: true }));

/** Runs the program on an older build, as a process, and returns what it printed. */
async function runOlder(
  build: Build,
  { databaseUrl }: TestDatabase,
  settings: { readonly environment?: string; readonly migrates?: boolean } = {},
): Promise<unknown> {
  const { environment = "-", migrates = false } = settings;
  const { stdout } = await promisify(execFile)(process.execPath, [
    join(work, build, "program.mjs"),
    databaseUrl,
    environment,
    migrates ? "migrate" : "-",
  ]);
  return JSON.parse(stdout);
}

const everything = {
  jobs: { created: [true, false], succeeded: 1, dead: 1, notes: ["one"] },
  window: { claim: "claimed", sent: true, repeated: "duplicate", progress: "finished" },
  run: { guard: "taken", ended: true },
  letters: ["note.refuse"],
  seen: 1,
  deleted: 0,
};

/** Applies a migration as `prisma migrate deploy` does: the file's text, and a record of it. */
async function applyAsPrisma(database: TestDatabase, name: string, sql: string): Promise<void> {
  await database.pool.query(
    `CREATE SCHEMA IF NOT EXISTS evenkeel; CREATE TABLE IF NOT EXISTS evenkeel._prisma_migrations (
      id varchar(36) PRIMARY KEY NOT NULL, checksum varchar(64) NOT NULL, finished_at timestamptz,
      migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz,
      started_at timestamptz NOT NULL DEFAULT now(), applied_steps_count integer NOT NULL DEFAULT 0)`,
  );
  const id = randomUUID();
  await database.pool.query(
    `INSERT INTO evenkeel._prisma_migrations (id, checksum, migration_name) VALUES ($1, $2, $3)`,
    [id, createHash("sha256").update(sql).digest("hex"), name],
  );
  await database.pool.query(sql);
  await database.pool.query(
    `UPDATE evenkeel._prisma_migrations SET finished_at = now(), applied_steps_count = 1 WHERE id = $1`,
    [id],
  );
}

/** A migration of a later release, as additive ones are. */
const scratch = {
  name: "29990101000000_scratch",
  sql: `ALTER TABLE evenkeel.background_job ADD COLUMN scratch text NOT NULL DEFAULT 'none';
    CREATE TABLE evenkeel.background_scratch (id bigint PRIMARY KEY, text text)`,
};
const mark = `;
INSERT INTO evenkeel.background_schema_mark (migration, min_reader)
VALUES ('29990101000000_scratch', '29990101000000_scratch')`;

test.each(builds)("the build %s does all of its work on the present schema", async (build) => {
  await using database = await createTestDatabase();
  expect(await runOlder(build, database)).toMatchObject({
    ...everything,
    warnings: expect.any(Array),
  });
});

test("an older build migrates beside a newer schema: it says once what is newer, and works", async () => {
  await using database = await createTestDatabase();
  await applyAsPrisma(database, scratch.name, scratch.sql);
  const settings = { environment: "production", migrates: true };
  const outcome = await runOlder("with-marks", database, settings);
  expect(outcome).toMatchObject({ ...everything, migrated: { applied: [] } });
  expect(outcome).toHaveProperty("warnings", [
    ["ledger.newer_schema", { unknown: expect.arrayContaining([scratch.name]) }],
  ]);
});

test("an older build that a mark is beyond refuses to start, and says which build it takes", async () => {
  await using database = await createTestDatabase();
  await applyAsPrisma(database, scratch.name, scratch.sql + mark);
  const refusal = {
    code: "newer_database",
    message: expect.stringMatching(
      /^Migration 29990101000000_scratch .* know 29990101000000_scratch, .* this build knows is 20\d+_\w+[.] Deploy/u,
    ),
  };
  expect(await runOlder("with-marks", database, { migrates: true })).toMatchObject(refusal);
  // Without migrate(), its first statement is refused.
  expect(await runOlder("with-marks", database)).toMatchObject(refusal);
});

test("the build before marks refuses to migrate beside anything newer, and works where it is not asked to", async () => {
  await using database = await createTestDatabase();
  expect(await runOlder("before-marks", database, { migrates: true })).toMatchObject({
    code: "newer_database",
  });
  await applyAsPrisma(database, scratch.name, scratch.sql);
  expect(await runOlder("before-marks", database)).toMatchObject(everything);
});

test("an older and the present build that migrate an empty database at once both work on it", async () => {
  await using database = await createTestDatabase({ migrated: false });
  const ledger = createLedger({ pool: database.pool, environment: "production" });
  const settings = { environment: "production", migrates: true };
  const [{ applied }, outcome] = await Promise.all([
    ledger.migrate(),
    runOlder("with-marks", database, settings),
  ]);
  expect(outcome).toMatchObject(everything);
  await expect(ledger.ping()).resolves.toBeUndefined();
  expect(Array.isArray(applied)).toBe(true);
  await ledger.close();
});

test("on a database that prisma migrate deploy brought here, old and new builds are ready and migrate nothing", async () => {
  await using database = await createTestDatabase({ migrated: false });
  const folder = join(root, "prisma", "migrations");
  const entries = await readdir(folder, { recursive: true });
  for (const file of entries.filter((entry) => entry.endsWith("migration.sql")).toSorted()) {
    const sql = await readFile(join(folder, file), "utf8");
    await applyAsPrisma(database, dirname(file), sql);
  }
  const ledger = createLedger({ pool: database.pool, environment: "production" });
  expect(await ledger.migrate()).toEqual({ applied: [] });
  await expect(ledger.ping()).resolves.toBeUndefined();
  const settings = { environment: "production", migrates: true };
  expect(await runOlder("with-marks", database, settings)).toMatchObject({
    ...everything,
    migrated: { applied: [] },
  });
  expect(await runOlder("with-marks", database, { environment: "staging" })).toMatchObject({
    code: "wrong_environment",
  });
  await ledger.close();
});
