import { createHash, randomUUID } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { createLedger } from "@evenkeel/ledger";
import { startPostgres, type PostgresCluster } from "@evenkeel/test-postgres";
import { Pool } from "pg";

import { atLeast, atMost, percentile, round, type Bar, type BenchReport } from "./report.ts";

interface MigrationFile {
  readonly name: string;
  readonly sql: string;
}

const folder = join(import.meta.dirname, "..", "..", "..", "prisma", "migrations");
const writers = 8;
const quietMs = 2_000;

/**
 * Measures how long writers wait while the ledger migrates: from each version upwards to the newest, on tables
 * that hold a million rows each, with writers that insert and update rows of every kind all the while.
 */
export async function benchMigrations({
  quick,
}: {
  readonly quick: boolean;
}): Promise<BenchReport> {
  const cluster = await startPostgres({ durable: true });
  const count = quick ? 50_000 : 1_000_000;
  try {
    const migrations = await readMigrations();
    const [first, ...later] = migrations;
    if (first === undefined) throw new Error("There is no migration.");
    await administer(cluster, `CREATE DATABASE "base"`);
    await withPool(cluster, "base", async (pool) => {
      await pool.query(`CREATE SCHEMA "evenkeel"; ${bookkeeping}`);
      await deploy(pool, first);
      await fill(pool, count);
    });
    const bars: Bar[] = [];
    const rows: BenchReport["rows"][number][] = [{ name: "rows per table", value: count }];
    for (const [place, next] of later.entries()) {
      await administer(cluster, `CREATE DATABASE "upgrade" TEMPLATE "base"`);
      const before = later.slice(0, place);
      const measured = await withPool(cluster, "upgrade", async (pool) => {
        for (const migration of before) await deploy(pool, migration);
        return measure(pool, later.length - place);
      });
      await administer(cluster, `DROP DATABASE "upgrade"`);
      const name = `from before ${next.name}`;
      bars.push(
        atMost(`${name}, longest write ms`, 200, measured.longestMs),
        atLeast(`${name}, writes meanwhile`, 1, measured.writes),
      );
      rows.push(
        { name: `${name}, migration ms`, value: round(measured.migrationMs) },
        { name: `${name}, p99 of writes ms`, value: round(measured.p99Ms) },
        { name: `${name}, longest write without it ms`, value: round(measured.quietLongestMs) },
      );
    }
    return { bars, rows };
  } finally {
    await cluster.stop();
  }
}

async function readMigrations(): Promise<MigrationFile[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const names = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  return Promise.all(
    names.toSorted().map(async (name) => ({
      name,
      sql: await readFile(join(folder, name, "migration.sql"), "utf8"),
    })),
  );
}

// As Prisma Migrate keeps it.
const bookkeeping = `CREATE TABLE "evenkeel"."_prisma_migrations" (
  "id" VARCHAR(36) PRIMARY KEY, "checksum" VARCHAR(64) NOT NULL, "finished_at" TIMESTAMPTZ,
  "migration_name" VARCHAR(255) NOT NULL, "logs" TEXT, "rolled_back_at" TIMESTAMPTZ,
  "started_at" TIMESTAMPTZ NOT NULL DEFAULT now(), "applied_steps_count" INTEGER NOT NULL DEFAULT 0)`;

/** Applies one migration as `prisma migrate deploy` does, to get to the version to begin from. */
async function deploy(pool: Pool, { name, sql }: MigrationFile): Promise<void> {
  await pool.query(sql);
  const checksum = createHash("sha256").update(sql).digest("hex");
  await pool.query(
    `INSERT INTO "evenkeel"."_prisma_migrations" ("id", "checksum", "migration_name", "finished_at")
     VALUES ($1, $2, $3, now())`,
    [randomUUID(), checksum, name],
  );
}

interface Measured {
  readonly migrationMs: number;
  readonly writes: number;
  readonly longestMs: number;
  readonly p99Ms: number;
  readonly quietLongestMs: number;
}

/** Writes for a while, then migrates while the writers go on, and for a while after it. */
async function measure(pool: Pool, pending: number): Promise<Measured> {
  const times: { readonly endedAt: number; readonly ms: number }[] = [];
  const stop = new AbortController();
  const written = Array.from({ length: writers }, async () => {
    while (!stop.signal.aborted) {
      for (const statement of writes) {
        const startedAt = performance.now();
        await pool.query(statement);
        const endedAt = performance.now();
        times.push({ endedAt, ms: endedAt - startedAt });
      }
    }
  });
  const migrating = (async () => {
    await sleep(quietMs);
    const startedAt = performance.now();
    const { applied } = await createLedger({ pool }).migrate();
    const migratedAt = performance.now();
    await sleep(quietMs);
    return { startedAt, applied, migratedAt };
  })();
  const ended = migrating.finally(() => stop.abort());
  const [{ startedAt, applied, migratedAt }] = await Promise.all([ended, ...written]);
  if (applied.length !== pending) throw new Error(`${applied.length} of ${pending} were applied.`);
  // A write that waits for the migration ends after it has begun.
  const quiet = times.filter(({ endedAt }) => endedAt < startedAt).map(({ ms }) => ms);
  const meanwhile = times.filter(({ endedAt }) => endedAt >= startedAt).map(({ ms }) => ms);
  return {
    migrationMs: migratedAt - startedAt,
    writes: times.filter(({ endedAt, ms }) => endedAt > startedAt && endedAt - ms < migratedAt)
      .length,
    longestMs: Math.max(...meanwhile),
    p99Ms: percentile(meanwhile, 0.99),
    quietLongestMs: Math.max(...quiet),
  };
}

const windowColumns = `"dispatch_key", "schedule", "scope", "window_start", "window_seconds", "status",
  "fence", "owner", "correlation_id", "enqueued_at"`;
const runColumns = `"run_id", "function_id", "dispatch_key", "event_name", "status", "owner", "finished_at"`;
const historyColumns = `"id", "tenant_id", "type", "version", "payload", "lane", "outcome", "run_at",
  "attempt", "errors", "created_at"`;

/** One write of each kind, in columns that every version has. */
const writes = [
  `INSERT INTO "evenkeel"."background_dispatch_window" (${windowColumns})
   VALUES (gen_random_uuid()::text, 's', 'global', now(), 60, 'ENQUEUED', gen_random_uuid(), 'o', 'c', now())`,
  `UPDATE "evenkeel"."background_dispatch_window" SET "duplicate_count" = "duplicate_count" + 1
   WHERE "dispatch_key" = (SELECT 'k' || (1 + floor(random() * 1000))::int)`,
  `INSERT INTO "evenkeel"."background_function_run" (${runColumns})
   VALUES (gen_random_uuid()::text, 'f', gen_random_uuid()::text, 'e', 'RUNNING', 'o', NULL)`,
  `UPDATE "evenkeel"."background_function_run" SET "heartbeat_at" = now()
   WHERE "run_id" = (SELECT 'r' || (1 + floor(random() * 1000))::int) AND "function_id" = 'f'`,
  `WITH "job" AS (INSERT INTO "evenkeel"."background_job" ("tenant_id", "type", "payload", "max_attempts")
     VALUES ('t', 'j', '{}', 5) RETURNING *)
   INSERT INTO "evenkeel"."background_job_history" (${historyColumns})
   SELECT -"id", "tenant_id", "type", 1, '{}', 'stable', 'SUCCEEDED', now(), 1, '[]', now() FROM "job"`,
  `DELETE FROM "evenkeel"."background_job" WHERE "id" = (
     SELECT "id" FROM "evenkeel"."background_job" ORDER BY "id" DESC LIMIT 1 FOR UPDATE SKIP LOCKED)`,
  `INSERT INTO "evenkeel"."background_dead_letter" ("kind", "source_id", "name", "reason", "error")
   VALUES ('JOB', gen_random_uuid()::text, 'n', 'terminal', 'e')`,
];

/** As many rows in each of the large tables. */
async function fill(pool: Pool, count: number): Promise<void> {
  const from = `FROM generate_series(1, $1::int) AS "n"`;
  const ago = `now() - "n" * interval '1 minute'`;
  for (const statement of [
    `INSERT INTO "evenkeel"."background_dispatch_window" (${windowColumns})
     SELECT 'k' || "n", 's', 'global', ${ago}, 60, 'ENQUEUED', gen_random_uuid(), 'o', 'c', ${ago} ${from}`,
    `INSERT INTO "evenkeel"."background_function_run" (${runColumns})
     SELECT 'r' || "n", 'f', 'k' || "n", 'e', 'SUCCEEDED', 'o', ${ago} ${from}`,
    `INSERT INTO "evenkeel"."background_dispatch_guard" ("function_id", "dispatch_key", "run_id")
     SELECT 'f', 'k' || "n", 'r' || "n" ${from}`,
    `INSERT INTO "evenkeel"."background_job" ("tenant_id", "type", "payload", "max_attempts")
     SELECT 't' || "n" % 1000, 'j', '{"to":"somebody"}', 5 ${from}`,
    `INSERT INTO "evenkeel"."background_job_history" (${historyColumns})
     SELECT -1000000000 - "n", 't' || "n" % 1000, 'j', 1, '{}', 'stable', 'SUCCEEDED', ${ago}, 1, '[]', ${ago} ${from}`,
    `INSERT INTO "evenkeel"."background_dead_letter" ("kind", "source_id", "name", "reason", "error")
     SELECT 'JOB', "n"::text, 'n', 'terminal', 'e' ${from}`,
  ]) {
    await pool.query(statement, [count]);
  }
  await pool.query("VACUUM ANALYZE");
  await pool.query("CHECKPOINT");
}

async function withPool<T>(
  cluster: PostgresCluster,
  database: string,
  work: (pool: Pool) => Promise<T>,
): Promise<T> {
  const pool = new Pool({ connectionString: cluster.url(database), max: writers + 4 });
  try {
    return await work(pool);
  } finally {
    await pool.end();
  }
}

function administer(cluster: PostgresCluster, statement: string): Promise<unknown> {
  return withPool(cluster, "postgres", (pool) => pool.query(statement));
}
