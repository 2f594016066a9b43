import { silentLogger } from "@evenkeel/core";
import { createTestDatabase } from "@evenkeel/test-postgres/testing";
import { Pool } from "pg";
import { expect, test } from "vitest";

import { migrations } from "../generated/migrations.ts";
import { createLedger } from "../ledger.ts";
import { migrate } from "./migrate.ts";
import type { Migration } from "./schema-version.ts";

/** Two migrations of a later version: one makes a table, the other changes a table that is in use. */
const later: readonly Migration[] = [
  {
    name: "29990101000000_notes",
    checksum: "1".repeat(64),
    sql: `CREATE TABLE evenkeel.note (id bigint PRIMARY KEY, text text NOT NULL);
      CREATE INDEX note_by_text ON evenkeel.note (text);`,
  },
  {
    name: "29990102000000_noted_jobs",
    checksum: "2".repeat(64),
    sql: "ALTER TABLE evenkeel.background_job ADD COLUMN note text NOT NULL DEFAULT 'none'",
  },
];
const laterNames = later.map(({ name }) => name);
const insertJob = `INSERT INTO evenkeel.background_job (tenant_id, type, payload, max_attempts)
  VALUES ('t', 'j', '{}', 1)`;

test("any number of hosts may migrate at once; each migration is applied once", async () => {
  const database = await createTestDatabase({ migrated: false });
  const pools = Array.from({ length: 8 }, () => database.connect(1));
  const all = [...migrations, ...later];
  const results = await Promise.all(pools.map((pool) => migrate(pool, silentLogger, all)));
  expect(results.flatMap(({ applied }) => applied)).toEqual(all.map(({ name }) => name));
  const { rows } = await database.pool.query(
    `SELECT migration_name, checksum, applied_steps_count, finished_at IS NOT NULL AS finished
     FROM evenkeel._prisma_migrations ORDER BY migration_name`,
  );
  expect(rows).toEqual(
    all.map(({ name, checksum }) => ({
      migration_name: name,
      checksum,
      applied_steps_count: 1,
      finished: true,
    })),
  );
  await database.drop();
});

test("a user who may not create schemas migrates the one made for it, and finds it migrated afterwards", async () => {
  const database = await createTestDatabase({ migrated: false });
  const user = `migrator_${database.pool.options.database?.slice(-12) ?? ""}`;
  await database.pool.query(`CREATE ROLE ${user} LOGIN PASSWORD 'hunter2'`);
  await database.pool.query(`CREATE SCHEMA evenkeel AUTHORIZATION ${user}`);
  const url = new URL(database.databaseUrl);
  url.username = user;
  url.password = "hunter2";
  const pool = new Pool({ connectionString: url.href, max: 1 });
  const names = migrations.map(({ name }) => name);
  await expect(migrate(pool, silentLogger)).resolves.toEqual({ applied: names });
  await expect(migrate(pool, silentLogger)).resolves.toEqual({ applied: [] });
  await pool.end();
  await database.pool.query(`DROP OWNED BY ${user} CASCADE`);
  await database.pool.query(`DROP ROLE ${user}`);
  await database.drop();
});

test("a database of an earlier version gets what is new, keeps its rows, and is then left alone", async () => {
  const database = await createTestDatabase();
  await database.pool.query(insertJob);
  const [first] = later;
  if (first === undefined) throw new Error("There is no later migration.");
  const upgrade = (to: readonly Migration[]): Promise<unknown> =>
    migrate(database.pool, silentLogger, [...migrations, ...to]);
  await expect(upgrade([first])).resolves.toEqual({ applied: laterNames.slice(0, 1) });
  await expect(upgrade(later)).resolves.toEqual({ applied: laterNames.slice(1) });
  await expect(upgrade(later)).resolves.toEqual({ applied: [] });
  const { rows } = await database.pool.query(`SELECT tenant_id, note FROM evenkeel.background_job`);
  expect(rows).toEqual([{ tenant_id: "t", note: "none" }]);
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

test("an upgrade that fails at its last migration leaves the earlier version as it was", async () => {
  const database = await createTestDatabase();
  const broken = {
    name: "29990103000000_broken",
    checksum: "3".repeat(64),
    sql: "ALTER TABLE evenkeel.background_job ADD COLUMN lane text",
  };
  const upgrade = migrate(database.pool, silentLogger, [...migrations, ...later, broken]);
  await expect(upgrade).rejects.toMatchObject({
    code: "migration_failed",
    data: { migration: broken.name },
  });
  const { rows } = await database.pool.query(`SELECT to_regclass('evenkeel.note') AS note`);
  expect(rows).toEqual([{ note: null }]);
  await expect(migrate(database.pool, silentLogger)).resolves.toEqual({ applied: [] });
  await database.drop();
});

test("a database that was migrated with another text is refused", async () => {
  const database = await createTestDatabase();
  const edited = migrations.map((migration) => ({ ...migration, checksum: "0".repeat(64) }));
  await expect(migrate(database.pool, silentLogger, edited)).rejects.toMatchObject({
    code: "migration_edited",
  });
  await database.drop();
});

test("an older build beside a newer schema migrates nothing and goes on, unless a mark is beyond it", async () => {
  const database = await createTestDatabase();
  const [notes, marking] = later;
  if (notes === undefined || marking === undefined)
    throw new Error("Later migrations are missing.");
  await migrate(database.pool, silentLogger, [...migrations, notes]);
  await expect(migrate(database.pool, silentLogger)).resolves.toEqual({ applied: [] });
  // The builds that know the notes can read what breaks the others.
  const breaking = {
    ...marking,
    sql: `${marking.sql}; INSERT INTO evenkeel.background_schema_mark (migration, min_reader)
      VALUES ('${marking.name}', '${notes.name}')`,
  };
  await migrate(database.pool, silentLogger, [...migrations, notes, breaking]);
  await expect(migrate(database.pool, silentLogger, [...migrations, notes])).resolves.toEqual({
    applied: [],
  });
  await expect(migrate(database.pool, silentLogger)).rejects.toMatchObject({
    code: "newer_database",
    message: expect.stringContaining(`know ${notes.name}`),
    data: {
      migration: marking.name,
      minReader: notes.name,
      newestKnown: migrations.at(-1)?.name,
    },
  });
  await database.drop();
});

test("an older and a newer build that migrate at once both go on, and the newer schema is there", async () => {
  const database = await createTestDatabase({ migrated: false });
  const builds = [migrations, [...migrations, ...later]];
  const results = await Promise.all(
    [...builds, ...builds].map((build) => migrate(database.connect(1), silentLogger, build)),
  );
  const applied = results.flatMap((result) => result.applied);
  expect(applied.toSorted()).toEqual([...migrations, ...later].map(({ name }) => name).toSorted());
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
  const database = await createTestDatabase();
  const holder = await database.pool.connect();
  await holder.query("BEGIN");
  await holder.query(insertJob);
  const waits: unknown[] = [];
  const info = (event: string): void => void waits.push(event);
  const migrating = migrate(database.connect(1), { ...silentLogger, info }, [
    ...migrations,
    ...later,
  ]);
  // Were the migration to queue for the table until it is free, these would wait for the holder for ever.
  while (waits.length < 2) await database.pool.query(insertJob);
  await holder.query("COMMIT");
  holder.release();
  expect((await migrating).applied).toEqual(laterNames);
  await database.drop();
});
