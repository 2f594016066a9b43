import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import { describeMessage, type Logger } from "@evenkeel/core";
import type pg from "pg";

import { migrations as shippedMigrations } from "../generated/migrations.ts";
import { createConnections } from "./connections.ts";
import { describeTarget, type SqlClient } from "./database.ts";
import { checkEnvironment, readEnvironmentMark } from "./environment-mark.ts";
import { isUnreachable, LedgerError } from "./ledger-error.ts";
import {
  compareSchema,
  newerDatabase,
  readSchemaState,
  type Migration,
  type SchemaState,
} from "./schema-version.ts";

/** What {@link migrate} did. */
export interface MigrationResult {
  /** Names of the migrations applied now, oldest first; empty when there was nothing to do. */
  readonly applied: readonly string[];
}

// The key of Prisma Migrate's advisory lock: both wait for each other.
const prismaMigrateLock = 72_707_369;

/** `IF NOT EXISTS` asks for the right to create even where there is nothing to create. */
const bookkeeping = `
DO $$
BEGIN
  IF to_regnamespace('evenkeel') IS NULL THEN
    CREATE SCHEMA evenkeel;
  END IF;
  IF to_regclass('evenkeel._prisma_migrations') IS NULL THEN
    CREATE TABLE evenkeel._prisma_migrations (
      id varchar(36) PRIMARY KEY NOT NULL,
      checksum varchar(64) NOT NULL,
      finished_at timestamptz,
      migration_name varchar(255) NOT NULL,
      logs text,
      rolled_back_at timestamptz,
      started_at timestamptz NOT NULL DEFAULT now(),
      applied_steps_count integer NOT NULL DEFAULT 0
    );
  END IF;
END
$$`;

/**
 * Brings the database to this package's schema: the files of `prisma/migrations`, recorded as Prisma
 * Migrate records them, in `evenkeel._prisma_migrations`. Any number of hosts may call it at once; all but
 * one wait and then find nothing to do. All pending migrations are applied, or none. A table that is in use
 * is asked for again and again, a tenth of a second each time, so that nobody has to wait behind the migration.
 * The user needs the right to create the schema only where it is missing, and where nothing is pending only reads.
 * Newer migrations that the build does not know change nothing, unless one of them is beyond it.
 *
 * @param environment The host's: a ledger that is marked with another is left as it is.
 * @throws LedgerError `newer_database` when a migration of the database is beyond this build, `wrong_environment`,
 * `migration_edited` when an applied one had another text, `migration_failed` with the migration's name.
 */
export async function migrate(
  pool: pg.Pool,
  logger: Logger,
  migrations: readonly Migration[] = shippedMigrations,
  environment?: string,
): Promise<MigrationResult> {
  const connections = createConnections(pool, {
    connectionTimeoutMs: 10_000,
    statementTimeoutMs: migrationTimeoutMs,
  });
  let isConnected = false;
  const work = async (sql: SqlClient): Promise<MigrationResult> => {
    isConnected = true;
    for (let attempt = 1; ; attempt += 1) {
      try {
        const applied = await applyPending(sql, migrations, environment);
        if (applied.length > 0) logger.info("ledger.migrated", { applied });
        return { applied };
      } catch (error) {
        if (isUnreachable(error)) throw error;
        await sql.query("ROLLBACK").catch(() => {});
        if (isDenied(error)) {
          throw new LedgerError(
            "migration_failed",
            `Migrations are for the owner of the schema "evenkeel", and this user is not. Call migrate() as the owner.`,
            {},
            { cause: error },
          );
        }
        if (!isLockTimeout(error) || attempt === maxLockAttempts) throw error;
        logger.info("ledger.migration_waits", { attempt });
        await sleep(lockPauseMs);
      }
    }
  };
  return connections.hold(work).catch((cause: unknown) => {
    if (isConnected || !isUnreachable(cause)) throw cause;
    const target = describeTarget(pool);
    throw new LedgerError(
      "unreachable",
      `No Postgres answers at ${target}. Start it, or set DATABASE_URL.`,
      { target },
      { cause },
    );
  });
}

/** A migration waits for those of other hosts, and may build an index. */
const migrationTimeoutMs = 600_000;

/** What waits for a table's lock makes every later statement on the table wait behind it. */
const lockTimeoutMs = 100;
const lockPauseMs = 400;
const maxLockAttempts = 240;

function isLockTimeout(error: unknown): boolean {
  const cause = error instanceof LedgerError ? error.cause : error;
  return cause instanceof Error && "code" in cause && cause.code === "55P03";
}

function isDenied(error: unknown): boolean {
  return error instanceof LedgerError && error.code === "not_granted";
}

async function applyPending(
  sql: SqlClient,
  migrations: readonly Migration[],
  environment: string | undefined,
): Promise<string[]> {
  // Nearly every start finds nothing to do: it takes no lock and waits for nobody.
  if (await isUpToDate(sql, migrations, environment)) return [];
  await sql.query("BEGIN");
  await sql.query(`SELECT set_config('statement_timeout', $1, true)`, [`${migrationTimeoutMs}ms`]);
  // Held to the end of the transaction, so it also works behind a pooler in transaction mode.
  await sql.query("SELECT pg_advisory_xact_lock($1)", [prismaMigrateLock]);
  await sql.query(bookkeeping);
  // Before anything is changed: the database may be another environment's.
  if (environment !== undefined) checkEnvironment(await readEnvironmentMark(sql), environment);
  const pending = findPending(await readSchemaState(sql), migrations);
  await sql.query(`SELECT set_config('lock_timeout', $1, true)`, [`${lockTimeoutMs}ms`]);
  for (const migration of pending) await apply(sql, migration);
  await sql.query("COMMIT");
  return pending.map(({ name }) => name);
}

async function isUpToDate(
  sql: SqlClient,
  migrations: readonly Migration[],
  environment: string | undefined,
): Promise<boolean> {
  try {
    if (environment !== undefined) checkEnvironment(await readEnvironmentMark(sql), environment);
    return findPending(await readSchemaState(sql), migrations).length === 0;
  } catch (error) {
    if (error instanceof LedgerError && error.code === "not_migrated") return false;
    throw error;
  }
}

function findPending(state: SchemaState, migrations: readonly Migration[]): readonly Migration[] {
  const { pending, barrier } = compareSchema(state, migrations);
  if (barrier !== undefined) throw newerDatabase(barrier, migrations);
  const recorded = new Map(state.recorded?.map((record) => [record.name, record]));
  for (const { name, checksum } of migrations) {
    const record = recorded.get(name);
    if (record === undefined) continue;
    if (!record.isFinished) {
      throw new LedgerError(
        "migration_failed",
        `Migration ${name} was started elsewhere and did not finish. Look at the database, then run "prisma migrate resolve".`,
        { migration: name },
      );
    }
    if (record.checksum !== checksum) {
      throw new LedgerError(
        "migration_edited",
        `Migration ${name} was applied with another text than this version ships. Published migrations are never edited.`,
        { migration: name },
      );
    }
  }
  return pending;
}

async function apply(sql: SqlClient, migration: Migration): Promise<void> {
  try {
    await sql.query(migration.sql);
  } catch (error) {
    if (isDenied(error)) throw error;
    const cause = error instanceof LedgerError ? (error.cause ?? error) : error;
    throw new LedgerError(
      "migration_failed",
      `Migration ${migration.name} failed and was rolled back: ${describeMessage(cause)}`,
      { migration: migration.name },
      { cause },
    );
  }
  await sql.query(
    `INSERT INTO evenkeel._prisma_migrations
       (id, checksum, migration_name, started_at, finished_at, applied_steps_count)
     VALUES ($1, $2, $3, clock_timestamp(), clock_timestamp(), 1)`,
    [randomUUID(), migration.checksum, migration.name],
  );
}
