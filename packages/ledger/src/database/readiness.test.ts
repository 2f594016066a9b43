import { randomUUID } from "node:crypto";

import { silentLogger, type Logger } from "@evenkeel/core";
import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import { Pool } from "pg";
import { afterEach, beforeEach, expect, inject, test } from "vitest";

import { migrations } from "../generated/migrations.ts";
import { createLedger, type Ledger } from "../ledger.ts";
import { migrate } from "./migrate.ts";

let database: TestDatabase;
const ledgers: Ledger[] = [];
const warnings: unknown[] = [];
beforeEach(async () => {
  database = await createTestDatabase();
  warnings.length = 0;
});
afterEach(async () => {
  for (const ledger of ledgers.splice(0)) await ledger.close();
  await database.drop();
});

const logger: Logger = {
  ...silentLogger,
  warn: (event, fields) => void warnings.push([event, fields]),
};

/** A host's ledger, on a pool of its own. */
function open(environment?: string, pool = database.connect(4)): Ledger {
  const ledger = createLedger({
    pool,
    logger,
    ...(environment === undefined ? {} : { environment }),
  });
  ledgers.push(ledger);
  return ledger;
}

const claim = (ledger: Ledger, dispatchKey: string = randomUUID()): Promise<unknown> =>
  ledger.windows.claim({
    dispatchKey,
    schedule: "s",
    scope: "global",
    windowStart: new Date("2026-01-01T00:00:00Z"),
    windowSeconds: 60,
    lane: "stable",
    owner: "o",
    correlationId: "c",
    leaseMs: 30_000,
  });

const countWindows = async (): Promise<unknown> =>
  (await database.pool.query(`SELECT count(*)::int FROM evenkeel.background_dispatch_window`))
    .rows[0];

test("a schema that lacks a migration of this build is not ready, though every table is there", async () => {
  const [newest] = migrations.toReversed();
  const forget = `DELETE FROM evenkeel._prisma_migrations WHERE migration_name = $1`;
  await database.pool.query(forget, [newest?.name]);
  const ledger = open();
  const refusal = { code: "not_migrated", data: { pending: [newest?.name] } };
  await expect(ledger.ping()).rejects.toMatchObject(refusal);
  await expect(claim(ledger)).rejects.toMatchObject(refusal);
  expect(await countWindows()).toEqual({ count: 0 });
});

test("a migration that Prisma began and did not finish is not applied", async () => {
  await database.pool.query(
    `UPDATE evenkeel._prisma_migrations SET finished_at = NULL WHERE migration_name = $1`,
    [migrations.at(-1)?.name],
  );
  await expect(open().ping()).rejects.toMatchObject({ code: "not_migrated" });
});

test("an older build says once that the schema is newer, and works", async () => {
  const newer = { name: "29990101000000_newer", checksum: "1".repeat(64), sql: "SELECT 1" };
  await migrate(database.pool, silentLogger, [...migrations, newer]);
  const ledger = open("production");
  await expect(ledger.migrate()).resolves.toEqual({ applied: [] });
  await expect(claim(ledger)).resolves.toMatchObject({ outcome: "claimed" });
  await ledger.ping();
  await ledger.ping();
  expect(warnings).toEqual([["ledger.newer_schema", { unknown: [newer.name] }]]);
});

test("a build that a mark is beyond is refused by every call, with the migrations and the way out", async () => {
  await database.pool.query(
    `INSERT INTO evenkeel.background_schema_mark (migration, min_reader) VALUES ('2999_x', '2999_w')`,
  );
  const ledger = open("production");
  const newestKnown = migrations.at(-1)?.name ?? "";
  const refusal = {
    code: "newer_database",
    message: `Migration 2999_x of this database can only be used by builds of @evenkeel/ledger that know 2999_w, and the newest that this build knows is ${newestKnown}. Deploy a build that knows it, or go back to a copy of the database from before the migration.`,
  };
  await expect(ledger.migrate()).rejects.toMatchObject(refusal);
  await expect(ledger.ping()).rejects.toMatchObject(refusal);
  await expect(claim(ledger)).rejects.toMatchObject(refusal);
  await expect(ledger.jobs.counts()).rejects.toMatchObject(refusal);
});

test("where no migrations are on record, as after a push of the schema, the tables decide", async () => {
  await database.pool.query(`DROP TABLE evenkeel._prisma_migrations`);
  await expect(claim(open())).resolves.toMatchObject({ outcome: "claimed" });
  await expect(open().ping()).resolves.toBeUndefined();
});

test("of hosts of two environments that come to a new ledger at once, one environment's are refused", async () => {
  const hosts = Array.from({ length: 12 }, (_, index) =>
    open(index % 2 === 0 ? "production" : "staging"),
  );
  const outcomes = await Promise.allSettled(
    hosts.map((host, index) => claim(host, `key-${index}`)),
  );
  const { rows } = await database.pool.query(
    `SELECT environment FROM evenkeel.background_environment`,
  );
  expect(rows).toHaveLength(1);
  const owner = rows[0].environment === "production" ? 0 : 1;
  expect(outcomes.map(({ status }) => status)).toEqual(
    hosts.map((_, index) => (index % 2 === owner ? "fulfilled" : "rejected")),
  );
  expect(await countWindows()).toEqual({ count: 6 });
});

test("a host of another environment claims, migrates and reads nothing, and is told the way out", async () => {
  await open("production").migrate();
  const [newest] = migrations.toReversed();
  await database.pool.query(`DELETE FROM evenkeel._prisma_migrations WHERE migration_name = $1`, [
    newest?.name,
  ]);
  const staging = open("staging");
  const refusal = {
    code: "wrong_environment",
    data: { marked: "production", environment: "staging" },
  };
  // The pending migration is not applied to another environment's database.
  await expect(staging.migrate()).rejects.toMatchObject(refusal);
  await migrate(database.pool, silentLogger, [...migrations.slice(0, -1), marker]);
  await database.pool.query(
    `UPDATE evenkeel._prisma_migrations SET migration_name = $1 WHERE migration_name = $2`,
    [newest?.name, marker.name],
  );
  await expect(staging.ping()).rejects.toMatchObject(refusal);
  await expect(claim(staging)).rejects.toMatchObject(refusal);
  await expect(staging.jobs.counts()).rejects.toMatchObject({
    message: expect.stringContaining(
      "SELECT evenkeel.change_environment('staging', '<your name>')",
    ),
  });
  expect(await countWindows()).toEqual({ count: 0 });
});

/** Stands for the newest migration, which cannot be applied twice. */
const marker = { name: "29990101000000_marker", checksum: "2".repeat(64), sql: "SELECT 1" };

test("an operator gives the ledger to another environment, audited, from a ledger of any", async () => {
  await open("production").migrate();
  const staging = open("staging");
  await expect(claim(staging)).rejects.toMatchObject({ code: "wrong_environment" });
  const reason = "copied from production";
  await expect(staging.asOperator("ada").changeEnvironment("staging", { reason })).resolves.toBe(
    "production",
  );
  await expect(claim(staging)).resolves.toMatchObject({ outcome: "claimed" });
  expect(await open().asOperator("ada").audit()).toMatchObject([
    {
      actor: "ada",
      action: "environment.change",
      subjectKind: "ledger",
      before: { environment: "production" },
      after: { environment: "staging" },
      reason,
    },
  ]);
  const production = open("production");
  await expect(production.ping()).rejects.toMatchObject({ code: "wrong_environment" });
});

test("a ping closes a ledger whose environment was changed while its host ran", async () => {
  const production = open("production");
  await expect(claim(production)).resolves.toMatchObject({ outcome: "claimed" });
  await database.pool.query(`SELECT evenkeel.change_environment('staging', 'ada')`);
  await expect(production.ping()).rejects.toMatchObject({ code: "wrong_environment" });
  await expect(claim(production)).rejects.toMatchObject({ code: "wrong_environment" });
});

test("a ledger without an environment works on any and marks none", async () => {
  const ledger = open();
  await ledger.migrate();
  await claim(ledger);
  const marks = await database.pool.query(`SELECT FROM evenkeel.background_environment`);
  expect(marks.rowCount).toBe(0);
  await open("staging").ping();
  await expect(claim(ledger)).resolves.toMatchObject({ outcome: "claimed" });
});

test("a ready ledger is asked once, and again after a statement found its tables missing", async () => {
  const pool = database.connect(2);
  const ledger = open("production", pool);
  let taken = 0;
  await claim(ledger);
  pool.on("acquire", () => {
    taken += 1;
  });
  for (let count = 0; count < 5; count += 1) await claim(ledger);
  expect(taken).toBe(5);
  await database.pool.query(`ALTER TABLE evenkeel.background_dispatch_window RENAME TO elsewhere`);
  await expect(claim(ledger)).rejects.toMatchObject({ code: "not_migrated" });
  await expect(claim(ledger)).rejects.toMatchObject({ code: "not_migrated" });
  await database.pool.query(`ALTER TABLE evenkeel.elsewhere RENAME TO background_dispatch_window`);
  await expect(claim(ledger)).resolves.toMatchObject({ outcome: "claimed" });
});

test("a user with the documented grants marks the ledger; one without is told what to grant", async () => {
  const user = `app_${randomUUID().replaceAll("-", "")}`;
  await database.pool.query(`CREATE ROLE ${user} LOGIN PASSWORD 'hunter2'`);
  const url = new URL(inject("postgres").url);
  url.pathname = new URL(database.databaseUrl).pathname;
  url.username = user;
  url.password = "hunter2";
  const pool = new Pool({ connectionString: url.href, max: 2 });
  const ledger = open("production", pool);
  await expect(claim(ledger)).rejects.toMatchObject({ code: "not_granted" });
  await expect(ledger.ping()).rejects.toMatchObject({ code: "not_granted" });
  await database.pool.query(`SELECT evenkeel.grant_to($1)`, [user]);
  await expect(claim(ledger)).resolves.toMatchObject({ outcome: "claimed" });
  await expect(ledger.ping()).resolves.toBeUndefined();
  await expect(ledger.asOperator("ada").changeEnvironment("live")).resolves.toBe("production");
  await ledger.close();
  await pool.end();
  await database.pool.query(`DROP OWNED BY ${user} CASCADE; DROP ROLE ${user}`);
});

test("a ping has a connection of its own: jobs that hold the whole pool do not keep it waiting", async () => {
  const pool = database.connect(1);
  const ledger = open("production", pool);
  const held = await pool.connect();
  await expect(ledger.ping()).resolves.toBeUndefined();
  held.release();
});
