import { createTestDatabase } from "@evenkeel/test-postgres/testing";
import { silentLogger } from "@evenkeel/core";
import { expect, test } from "vitest";

import { migrations } from "../generated/migrations.ts";
import { createLedger } from "../ledger.ts";
import { migrate } from "./migrate.ts";

test("any number of hosts may migrate at once; each migration is applied once", async () => {
  const database = await createTestDatabase({ migrated: false });
  const pools = Array.from({ length: 8 }, () => database.connect(1));
  const results = await Promise.all(pools.map((pool) => migrate(pool, silentLogger)));
  expect(results.flatMap(({ applied }) => applied)).toEqual(migrations.map(({ name }) => name));
  const { rows } = await database.pool.query(
    `SELECT migration_name, checksum, applied_steps_count, finished_at IS NOT NULL AS finished
     FROM evenkeel._prisma_migrations ORDER BY migration_name`,
  );
  expect(rows).toEqual(
    migrations.map(({ name, checksum }) => ({
      migration_name: name,
      checksum,
      applied_steps_count: 1,
      finished: true,
    })),
  );
  await database.drop();
});

test("a migration that fails leaves nothing behind and is named", async () => {
  const database = await createTestDatabase({ migrated: false });
  const broken = {
    name: "29990101000000_broken",
    checksum: "x",
    sql: "CREATE TABLE evenkeel.a (id int); SELEC 1",
  };
  await expect(migrate(database.pool, silentLogger, [...migrations, broken])).rejects.toMatchObject(
    { code: "migration_failed", data: { migration: broken.name } },
  );
  const { rows } = await database.pool.query(
    `SELECT to_regclass('evenkeel.background_job') AS job`,
  );
  expect(rows).toEqual([{ job: null }]);
  await expect(migrate(database.pool, silentLogger)).resolves.toEqual({
    applied: migrations.map(({ name }) => name),
  });
  await database.drop();
});

test("a database newer than the code, or migrated with another text, is refused", async () => {
  const database = await createTestDatabase();
  await expect(migrate(database.pool, silentLogger, [])).rejects.toMatchObject({
    code: "newer_database",
  });
  const edited = migrations.map((migration) => ({ ...migration, checksum: "0".repeat(64) }));
  await expect(migrate(database.pool, silentLogger, edited)).rejects.toMatchObject({
    code: "migration_edited",
  });
  await database.drop();
});

test("a missing database is said in one line, without credentials", async () => {
  const ledger = createLedger({ databaseUrl: "postgresql://app:hunter2@127.0.0.1:1/app" });
  const error: unknown = await ledger.migrate().catch((reason: unknown) => reason);
  expect(error).toMatchObject({
    code: "unreachable",
    message: "No Postgres answers at 127.0.0.1:1/app. Start it, or set DATABASE_URL.",
  });
  await expect(ledger.ping()).rejects.toMatchObject({ code: "unreachable" });
  await ledger.close();
  expect(() => createLedger({ databaseUrl: "mysql://app:hunter2@db/app" })).toThrow(
    expect.objectContaining({ code: "invalid_database_url" }),
  );
});

test("a database without the tables is reported as such", async () => {
  const database = await createTestDatabase({ migrated: false });
  const ledger = createLedger({ pool: database.pool });
  await expect(ledger.ping()).rejects.toMatchObject({ code: "not_migrated" });
  await ledger.migrate();
  await expect(ledger.ping()).resolves.toBeUndefined();
  await ledger.close();
  await database.drop();
});

test("a migration that has to wait for a table keeps nobody else from it", async () => {
  const database = await createTestDatabase({ migrated: false });
  await migrate(database.pool, silentLogger, migrations.slice(0, 1));
  const insert = `INSERT INTO "evenkeel"."background_job" ("tenant_id", "type", "payload", "max_attempts")
    VALUES ('t', 'j', '{}', 1)`;
  const holder = await database.pool.connect();
  await holder.query("BEGIN");
  await holder.query(insert);
  const waits: unknown[] = [];
  const info = (event: string): void => void waits.push(event);
  const migrating = migrate(database.connect(1), { ...silentLogger, info });
  // Were the migration to queue for the table until it is free, these would wait for the holder for ever.
  while (waits.length < 2) await database.pool.query(insert);
  await holder.query("COMMIT");
  holder.release();
  expect((await migrating).applied).toEqual(migrations.slice(1).map(({ name }) => name));
  await database.drop();
});

test.each(migrations.map(({ name, sql }) => [name, sql] as const))(
  "%s holds no table that it did not make for longer than a moment",
  (_, sql) => {
    const statements = sql
      .replaceAll(/\$\$.*?\$\$/gsu, "")
      .replaceAll(/--.*$/gmu, "")
      .split(";")
      .map((statement) => statement.trim());
    const own = new Set(statements.flatMap((text) => /^CREATE TABLE (\S+)/u.exec(text)?.[1] ?? []));
    const slow = statements.filter((text) => {
      const index = /^CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY)\S+\s+ON (\S+)/u.exec(text)?.[1];
      if (index !== undefined) return !own.has(index);
      const table = /^ALTER TABLE (\S+)/u.exec(text)?.[1];
      if (table === undefined || own.has(table)) return false;
      // A rewrite, or a check of every row, under a lock that shuts everyone out.
      return (
        /\bALTER COLUMN\b[^,]*\bTYPE\b|\bSET NOT NULL\b/u.test(text) ||
        /\bDEFAULT\s+(?:gen_random_uuid|clock_timestamp|random)\(/u.test(text) ||
        (/\bADD CONSTRAINT\b/u.test(text) && !/\bNOT VALID\b/u.test(text))
      );
    });
    expect(slow).toEqual([]);
  },
);
