import { createHash, randomUUID } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { createLedger, type Ledger } from "@evenkeel/ledger";
import { startPostgres, type PostgresCluster } from "@evenkeel/test-postgres";
import { Pool } from "pg";

import type { BenchSize } from "./bench-size.ts";
import { atLeast, atMost, percentile, round, type Bar, type BenchReport } from "./report.ts";

interface MigrationFile {
  readonly name: string;
  readonly sql: string;
}

const folder = join(import.meta.dirname, "..", "..", "..", "prisma", "migrations");
const writers = 8;

/**
 * Rows per table; how long it is quiet before and after; and how often `migrate()` is called where nothing is left to do,
 * as by hosts that start.
 */
const amounts = {
  full: { count: 1_000_000, quietMs: 2_000, repetitions: 50 },
  quick: { count: 50_000, quietMs: 2_000, repetitions: 50 },
  smoke: { count: 2_000, quietMs: 200, repetitions: 5 },
};

/**
 * Measures how long the baseline takes on an empty database; how long writers wait while hosts start and find
 * nothing to do; and how long they wait while the ledger migrates, from each version after the baseline to the
 * newest. The tables hold a million rows each, and writers insert and update rows of every kind all the while.
 */
export async function benchMigrations({
  size,
}: {
  readonly size: BenchSize;
}): Promise<BenchReport> {
  const cluster = await startPostgres({ durable: true });
  const { count, quietMs, repetitions } = amounts[size];
  try {
    const [baseline, ...later] = await readMigrations();
    if (baseline === undefined) throw new Error("There is no migration.");
    const emptyMs = await timeEmpty(cluster, later.length + 1);
    await administer(cluster, "CREATE DATABASE base");
    await withPool(cluster, "base", async (pool) => {
      await pool.query(`CREATE SCHEMA evenkeel; ${bookkeeping}`);
      await deploy(pool, baseline);
      await fill(pool, count);
    });
    const bars: Bar[] = [];
    const rows: BenchReport["rows"][number][] = [
      { name: "rows per table", value: count },
      { name: "every migration on an empty database, ms", value: round(emptyMs) },
      {
        name: "migrations after the baseline",
        value: later.length === 0 ? "none yet" : later.length,
      },
    ];
    const add = (name: string, measured: Measured, calls: number): void => {
      bars.push(
        atMost(`${name}, longest write ms`, 200, measured.longestMs),
        atLeast(`${name}, writes meanwhile`, 1, measured.writes),
      );
      rows.push(
        { name: `${name}, one migrate() ms`, value: round(measured.migrationMs / calls) },
        { name: `${name}, p99 of writes ms`, value: round(measured.p99Ms) },
        { name: `${name}, longest write without it ms`, value: round(measured.quietLongestMs) },
      );
    };
    for (const [place, next] of later.entries()) {
      const before = later.slice(0, place);
      const measured = await upgrade(cluster, before, quietMs, (ledger) =>
        migrate(ledger, later.length - place),
      );
      add(`from before ${next.name}`, measured, 1);
    }
    const idle = await upgrade(cluster, later, quietMs, async (ledger) => {
      for (let call = 0; call < repetitions; call += 1) await migrate(ledger, 0);
    });
    add(`nothing to do, ${repetitions} times`, idle, repetitions);
    return { bars, rows };
  } finally {
    await cluster.stop();
  }
}

/** Migrates as a host does at its start. @throws Error when another number of migrations was pending. */
async function migrate(ledger: Ledger, pending: number): Promise<void> {
  const { applied } = await ledger.migrate();
  if (applied.length !== pending) throw new Error(`${applied.length} of ${pending} were applied.`);
}

/** Returns how long all migrations take on a new database, in milliseconds. */
async function timeEmpty(cluster: PostgresCluster, pending: number): Promise<number> {
  await administer(cluster, "CREATE DATABASE empty");
  const tookMs = await withPool(cluster, "empty", async (pool) => {
    const startedAt = performance.now();
    await migrate(createLedger({ pool }), pending);
    return performance.now() - startedAt;
  });
  await administer(cluster, "DROP DATABASE empty");
  return tookMs;
}

/** Brings a copy of the filled database to a version, and measures the work on it under writers. */
async function upgrade(
  cluster: PostgresCluster,
  before: readonly MigrationFile[],
  quietMs: number,
  work: (ledger: Ledger) => Promise<void>,
): Promise<Measured> {
  await administer(cluster, "CREATE DATABASE upgrade TEMPLATE base");
  const measured = await withPool(cluster, "upgrade", async (pool) => {
    for (const migration of before) await deploy(pool, migration);
    const ledger = createLedger({ pool });
    return measure(pool, quietMs, () => work(ledger));
  });
  await administer(cluster, "DROP DATABASE upgrade");
  return measured;
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
const bookkeeping = `CREATE TABLE evenkeel._prisma_migrations (
  id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL, finished_at timestamptz,
  migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz,
  started_at timestamptz NOT NULL DEFAULT now(), applied_steps_count integer NOT NULL DEFAULT 0)`;

/** Applies one migration as `prisma migrate deploy` does, to get to the version to begin from. */
async function deploy(pool: Pool, { name, sql }: MigrationFile): Promise<void> {
  await pool.query(sql);
  const checksum = createHash("sha256").update(sql).digest("hex");
  await pool.query(
    `INSERT INTO evenkeel._prisma_migrations (id, checksum, migration_name, finished_at)
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

/** Writes for a while, then migrates while the writers continue, and for a while after it. */
async function measure(pool: Pool, quietMs: number, work: () => Promise<void>): Promise<Measured> {
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
    await work();
    const migratedAt = performance.now();
    await sleep(quietMs);
    return { startedAt, migratedAt };
  })();
  const ended = migrating.finally(() => stop.abort());
  const [{ startedAt, migratedAt }] = await Promise.all([ended, ...written]);
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

const windowColumns = `dispatch_key, schedule, scope, window_start, window_seconds, status,
  fence, owner, correlation_id, enqueued_at`;
const runColumns = `run_id, function_id, dispatch_key, event_name, status, owner, finished_at`;
const historyColumns = `id, tenant_id, type, version, payload, lane, outcome, run_at,
  attempt, errors, created_at`;

/** One write of each kind, in columns that every version has. */
const writes = [
  `INSERT INTO evenkeel.background_dispatch_window (${windowColumns})
   VALUES (gen_random_uuid()::text, 's', 'global', now(), 60, 'ENQUEUED', gen_random_uuid(), 'o', 'c', now())`,
  `UPDATE evenkeel.background_dispatch_window SET duplicate_count = duplicate_count + 1
   WHERE dispatch_key = (SELECT 'k' || (1 + floor(random() * 1000))::int)`,
  `INSERT INTO evenkeel.background_function_run (${runColumns})
   VALUES (gen_random_uuid()::text, 'f', gen_random_uuid()::text, 'e', 'RUNNING', 'o', NULL)`,
  `UPDATE evenkeel.background_function_run SET heartbeat_at = now()
   WHERE run_id = (SELECT 'r' || (1 + floor(random() * 1000))::int) AND function_id = 'f'`,
  `WITH job AS (INSERT INTO evenkeel.background_job (tenant_id, type, payload, max_attempts)
     VALUES ('t', 'j', '{}', 5) RETURNING *)
   INSERT INTO evenkeel.background_job_history (${historyColumns})
   SELECT -id, tenant_id, type, 1, '{}', 'stable', 'SUCCEEDED', now(), 1, '[]', now() FROM job`,
  `DELETE FROM evenkeel.background_job WHERE id = (
     SELECT id FROM evenkeel.background_job ORDER BY id DESC LIMIT 1 FOR UPDATE SKIP LOCKED)`,
  `INSERT INTO evenkeel.background_dead_letter (kind, source_id, name, reason, error)
   VALUES ('JOB', gen_random_uuid()::text, 'n', 'terminal', 'e')`,
];

/** As many rows in each of the large tables. */
async function fill(pool: Pool, count: number): Promise<void> {
  const from = `FROM generate_series(1, $1::int) AS number`;
  const ago = `now() - number * interval '1 minute'`;
  for (const statement of [
    `INSERT INTO evenkeel.background_dispatch_window (${windowColumns})
     SELECT 'k' || number, 's', 'global', ${ago}, 60, 'ENQUEUED', gen_random_uuid(), 'o', 'c', ${ago} ${from}`,
    `INSERT INTO evenkeel.background_function_run (${runColumns})
     SELECT 'r' || number, 'f', 'k' || number, 'e', 'SUCCEEDED', 'o', ${ago} ${from}`,
    `INSERT INTO evenkeel.background_dispatch_guard (function_id, dispatch_key, run_id)
     SELECT 'f', 'k' || number, 'r' || number ${from}`,
    `INSERT INTO evenkeel.background_job (tenant_id, type, payload, max_attempts)
     SELECT 't' || number % 1000, 'j', '{"to":"somebody"}', 5 ${from}`,
    `INSERT INTO evenkeel.background_job_history (${historyColumns})
     SELECT -1000000000 - number, 't' || number % 1000, 'j', 1, '{}', 'stable', 'SUCCEEDED', ${ago}, 1, '[]', ${ago} ${from}`,
    `INSERT INTO evenkeel.background_dead_letter (kind, source_id, name, reason, error)
     SELECT 'JOB', number::text, 'n', 'terminal', 'e' ${from}`,
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
  // `end()` does not wait for the server to hang up: a server that stops meanwhile cuts the connection.
  pool.on("error", () => {});
  try {
    return await work(pool);
  } finally {
    await pool.end();
  }
}

function administer(cluster: PostgresCluster, statement: string): Promise<unknown> {
  return withPool(cluster, "postgres", (pool) => pool.query(statement));
}
