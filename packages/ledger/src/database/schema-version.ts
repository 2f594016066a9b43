import type { SqlClient } from "./database.ts";
import { LedgerError, notMigrated } from "./ledger-error.ts";

/*
 * Which builds work on which schema. Migrations are additive: a build works on a schema with all of its own migrations,
 * whatever newer ones were applied beside them. A migration that breaks the builds before it says so itself, by a row of
 * background_schema_mark: it names the migration that a build has to know. So a rollback, and a stable release beside a
 * canary that has migrated, work as long as no mark is beyond them.
 */

/** One migration file: its folder's name, the SHA-256 of its text, and the text. */
export interface Migration {
  readonly name: string;
  readonly checksum: string;
  readonly sql: string;
}

/** A migration on record in the database. */
export interface RecordedMigration {
  readonly name: string;
  readonly checksum: string;
  readonly isFinished: boolean;
}

/** What a migration that broke earlier builds left: they have to know `minReader`. */
export interface SchemaMark {
  readonly migration: string;
  readonly minReader: string;
}

/** What the database says of its schema. */
export interface SchemaState {
  /** `undefined`: no records are kept here, as after `prisma db push`. */
  readonly recorded: readonly RecordedMigration[] | undefined;
  readonly marks: readonly SchemaMark[];
}

/** How a build stands to a database's schema. */
export interface SchemaComparison {
  /** Migrations of the build that are not applied, the oldest first. */
  readonly pending: readonly Migration[];
  /** Names of migrations on record that the build does not know, the oldest first. */
  readonly unknown: readonly string[];
  /** The newest mark of a migration that this build cannot work beside. */
  readonly barrier?: SchemaMark;
}

/**
 * Reads what the database says of its schema.
 *
 * @throws LedgerError `not_migrated` when the ledger's tables are not there, `not_granted`.
 */
export async function readSchemaState(sql: SqlClient): Promise<SchemaState> {
  const [found] = await sql.query<{ records: boolean; marks: boolean; tables: boolean }>(
    `SELECT to_regclass('evenkeel._prisma_migrations') IS NOT NULL AS records,
       to_regclass('evenkeel.background_schema_mark') IS NOT NULL AS marks,
       to_regclass('evenkeel.background_dispatch_window') IS NOT NULL AS tables`,
  );
  const { records = false, marks = false, tables = false } = found ?? {};
  if (!records && !(tables && marks)) throw notMigrated();
  // One statement for whichever of the two are there: a check stands before the first claim of a host.
  const recordsOf = records
    ? `(SELECT jsonb_agg(jsonb_build_object('name', migration_name, 'checksum', checksum,
         'isFinished', finished_at IS NOT NULL) ORDER BY migration_name COLLATE "C")
       FROM evenkeel._prisma_migrations WHERE rolled_back_at IS NULL)`
    : "NULL::jsonb";
  const marksOf = marks
    ? `(SELECT jsonb_agg(jsonb_build_object('migration', migration, 'minReader', min_reader) ORDER BY migration)
       FROM evenkeel.background_schema_mark)`
    : "NULL::jsonb";
  const [row] = await sql.query<{
    recorded: readonly RecordedMigration[] | null;
    marked: readonly SchemaMark[] | null;
  }>(`SELECT ${recordsOf} AS recorded, ${marksOf} AS marked`);
  return {
    recorded: records ? (row?.recorded ?? []) : undefined,
    marks: row?.marked ?? [],
  };
}

/** Compares a database's schema with the migrations of a build. */
export function compareSchema(
  { recorded, marks }: SchemaState,
  migrations: readonly Migration[],
): SchemaComparison {
  const known = new Set(migrations.map(({ name }) => name));
  const done = new Set(recorded?.flatMap(({ name, isFinished }) => (isFinished ? name : [])));
  const barrier = marks.findLast(({ minReader }) => !known.has(minReader));
  return {
    // Where no records are kept, statements say by themselves what they miss.
    pending: recorded === undefined ? [] : migrations.filter(({ name }) => !done.has(name)),
    unknown: (recorded ?? []).flatMap(({ name }) => (known.has(name) ? [] : name)),
    ...(barrier === undefined ? {} : { barrier }),
  };
}

/** The error of a build that a mark is beyond. */
export function newerDatabase(
  { migration, minReader }: SchemaMark,
  migrations: readonly Migration[],
): LedgerError {
  const newestKnown = migrations.at(-1)?.name ?? "none";
  return new LedgerError(
    "newer_database",
    `Migration ${migration} of this database can only be used by builds of @evenkeel/ledger that know ${minReader}, and the newest that this build knows is ${newestKnown}. Deploy a build that knows it, or go back to a copy of the database from before the migration.`,
    { migration, minReader, newestKnown },
  );
}
