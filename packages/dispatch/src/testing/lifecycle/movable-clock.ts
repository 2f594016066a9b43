import type { TestDatabase } from "@evenkeel/test-postgres/testing";

/** Where each sequence begins: within a minute, so that no window's edge is near. */
const epoch: number = Date.parse("2026-01-01T00:00:30.000Z");

// Functions of these names ahead of Postgres' own on the search path. Within a command time passes by a
// millisecond per look at the clock, so that what is written later has a later time.
const installStatements = `
CREATE SCHEMA "clock";
CREATE SEQUENCE "clock"."ticks" MINVALUE 0;
CREATE TABLE "clock"."state" ("at" timestamptz NOT NULL);
INSERT INTO "clock"."state" VALUES (pg_catalog.now());
CREATE FUNCTION "clock"."clock_timestamp"() RETURNS timestamptz LANGUAGE sql VOLATILE AS
  $$ SELECT "at" + nextval('clock.ticks') * interval '1 millisecond' FROM "clock"."state" $$;
CREATE FUNCTION "clock"."now"() RETURNS timestamptz LANGUAGE sql STABLE AS
  $$ SELECT "at" + "last_value" * interval '1 millisecond' FROM "clock"."state", "clock"."ticks" $$;
CREATE FUNCTION "clock"."statement_timestamp"() RETURNS timestamptz LANGUAGE sql STABLE AS
  $$ SELECT "clock"."now"() $$;
DO $do$
DECLARE "c" record;
BEGIN
  FOR "c" IN SELECT "table_name", "column_name" FROM "information_schema"."columns"
    WHERE "table_schema" = 'evenkeel' AND "column_default" = 'CURRENT_TIMESTAMP'
  LOOP
    EXECUTE format('ALTER TABLE "evenkeel".%I ALTER COLUMN %I SET DEFAULT "clock"."clock_timestamp"()',
      "c"."table_name", "c"."column_name");
  END LOOP;
  EXECUTE format('ALTER DATABASE %I SET search_path = clock, pg_catalog, public', current_database());
END $do$`;

/** The clock of a database and of its hosts, which moves when it is told to. */
export interface MovableClock {
  /** A pool whose sessions read this clock. */
  readonly pool: TestDatabase["pool"];
  /** Milliseconds since 1970. */
  now(): number;
  advance(ms: number): Promise<void>;
  /** Back to where each sequence begins. */
  reset(): Promise<void>;
}

/** Gives a test database a clock that moves when it is told to. */
export async function installClock(database: TestDatabase): Promise<MovableClock> {
  await database.pool.query(installStatements);
  // Sessions from here on.
  const pool = database.connect(4);
  let now = epoch;
  const set = async (at: number): Promise<void> => {
    now = at;
    await database.pool.query(`UPDATE "clock"."state" SET "at" = $1`, [new Date(at)]);
  };
  const reset = async (): Promise<void> => {
    await database.pool.query(`SELECT setval('clock.ticks', 0)`);
    await set(epoch);
  };
  await reset();
  return {
    pool,
    now: () => now,
    advance: (ms) => set(now + ms),
    reset,
  };
}
