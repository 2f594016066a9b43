import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { createTestDatabase } from "@evenkeel/test-postgres/testing";
import { expect, test } from "vitest";

import { migrations } from "../generated/migrations.ts";

const folder = join(import.meta.dirname, "..", "..", "..", "..", "prisma", "migrations");

/**
 * Returns the statements that keep others from a table that is there already for longer than a moment, or that
 * take away what the release before still uses: a rewrite, a check of every row, an index, a new name.
 */
function findUnsafeStatements(sql: string): string[] {
  const statements = sql
    .replaceAll(/\$\$.*?\$\$/gsu, "")
    .replaceAll(/--.*$/gmu, "")
    .split(";")
    .map((statement) => statement.trim());
  const own = new Set(
    statements.flatMap((text) => /^CREATE TABLE (?:IF NOT EXISTS )?(\S+)/u.exec(text)?.[1] ?? []),
  );
  return statements.filter((text) => {
    const index = /^CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY)\S+\s+ON (\S+)/u.exec(text)?.[1];
    if (index !== undefined) return !own.has(index);
    if (/^ALTER TYPE \S+\s+RENAME\b/u.test(text)) return true;
    const table = /^ALTER TABLE (\S+)/u.exec(text)?.[1];
    if (table === undefined || own.has(table)) return false;
    return (
      /\bRENAME\b/u.test(text) ||
      /\bALTER COLUMN\b[^,]*\bTYPE\b|\bSET NOT NULL\b/u.test(text) ||
      /\bDEFAULT\s+(?:gen_random_uuid|clock_timestamp|random)\(/u.test(text) ||
      (/\bADD CONSTRAINT\b/u.test(text) && !/\bNOT VALID\b/u.test(text))
    );
  });
}

/** Says itself that hosts of earlier versions have to be stopped: then nobody waits for its tables. */
const isBreaking = (sql: string): boolean =>
  sql.startsWith("-- Breaking: stop hosts of earlier versions first.");

/** Broke builds before there were marks: a later migration wrote theirs. */
const markedLater = new Set([
  "20261125130000_available_jobs",
  "20261125150000_unique_keys",
  "20261125152000_own_identity",
]);

test.each(migrations.map(({ name, sql }) => [name, sql] as const))(
  "%s marks the schema if it is breaking, and else does not",
  (name, sql) => {
    if (markedLater.has(name) || name.endsWith("_readers_and_environment")) return;
    const marks = /^INSERT INTO evenkeel[.]background_schema_mark\b/mu.test(sql);
    expect(marks).toBe(isBreaking(sql));
  },
);

test("every breaking migration has its mark in the database, which builds without it cannot read", async () => {
  await using database = await createTestDatabase();
  const { rows } = await database.pool.query<{ migration: string; min_reader: string }>(
    `SELECT migration, min_reader FROM evenkeel.background_schema_mark ORDER BY migration`,
  );
  const breaking = migrations.filter(({ sql }) => isBreaking(sql)).map(({ name }) => name);
  expect(rows.map(({ migration }) => migration)).toEqual(breaking);
  const names = migrations.map(({ name }) => name);
  for (const row of rows) expect(names).toContain(row.min_reader);
});

test.each(
  migrations.filter(({ sql }) => !isBreaking(sql)).map(({ name, sql }) => [name, sql] as const),
)("%s holds no table that it did not make for longer than a moment", (_, sql) => {
  expect(findUnsafeStatements(sql)).toEqual([]);
});

test.each([
  "CREATE INDEX job_by_owner\n  ON evenkeel.background_job (owner)",
  "CREATE UNIQUE INDEX job_by_owner ON evenkeel.background_job (owner)",
  "ALTER TABLE evenkeel.background_job ALTER COLUMN attempt TYPE bigint",
  "ALTER TABLE evenkeel.background_job ALTER COLUMN owner SET NOT NULL",
  "ALTER TABLE evenkeel.background_job ADD COLUMN token uuid DEFAULT gen_random_uuid()",
  "ALTER TABLE evenkeel.background_job ADD CONSTRAINT positive CHECK (attempt >= 0)",
  "ALTER TABLE evenkeel.background_job RENAME COLUMN owner TO worker",
  "ALTER TYPE evenkeel.job_state RENAME VALUE 'PENDING' TO 'WAITING'",
])("a migration may not say %s", (statement) => {
  const sql = `CREATE TABLE evenkeel.note (id bigint); -- its own\n${statement};`;
  expect(findUnsafeStatements(sql)).toEqual([statement]);
});

test.each([
  "CREATE INDEX note_by_id ON evenkeel.note (id)",
  "CREATE INDEX CONCURRENTLY job_by_owner ON evenkeel.background_job (owner)",
  "ALTER TABLE evenkeel.background_job ADD COLUMN note text NOT NULL DEFAULT ''",
  "ALTER TABLE evenkeel.background_job ADD CONSTRAINT positive CHECK (attempt >= 0) NOT VALID",
  "ALTER TYPE evenkeel.job_state ADD VALUE 'PARKED'",
])("a migration may say %s", (statement) => {
  expect(findUnsafeStatements(`CREATE TABLE evenkeel.note (id bigint); ${statement};`)).toEqual([]);
});

test("no migration was edited, renamed or removed since it was listed, and each is listed", async () => {
  const list = await readFile(join(folder, "released.sha256"), "utf8");
  const actual = migrations.map(({ name, checksum }) => `${checksum}  ${name}/migration.sql\n`);
  expect(
    actual.join(""),
    "A listed migration is never edited: write another one. List a new one in prisma/migrations/released.sha256.",
  ).toBe(list);
});
