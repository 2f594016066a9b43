import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import { installMovableClock, type MovableClock } from "@evenkeel/core/database-clock";
import { createLedger } from "@evenkeel/ledger";
import { Client, Pool } from "pg";

/** A database of a test's own, whose time stands still until it is moved. */
export interface ClockedTestDatabase {
  readonly databaseUrl: string;
  readonly pool: Pool;
  readonly clock: MovableClock;
  /** Closes the pool and removes the database. */
  drop(): Promise<void>;
}

/** The template has other sessions: Postgres clones a database only while nobody uses it. */
const templateInUse = "55006";
const cloneTries = 100;

/**
 * Clones the database of a connection string, brings the clone to this build's schema, and gives it a clock.
 *
 * @throws Error when the server cannot be reached, the user may not create databases, or other sessions keep using
 * the database that is cloned.
 */
export async function cloneDatabase(
  templateUrl: string,
  startMs: number,
): Promise<ClockedTestDatabase> {
  const template = databaseOf(templateUrl);
  // A session on the template itself would keep it from being cloned.
  const adminUrl = withDatabase(templateUrl, template === "postgres" ? "template1" : "postgres");
  const name = `evenkeel_test_${randomUUID().replaceAll("-", "")}`;
  await inSession(adminUrl, (session) => clone(session, name, template));
  const databaseUrl = withDatabase(templateUrl, name);
  const drop = async (): Promise<void> => {
    await inSession(adminUrl, (session) =>
      session.query(`drop database if exists "${name}" with (force)`),
    );
  };
  const pools: Pool[] = [];
  try {
    const ledger = createLedger({ databaseUrl });
    try {
      await ledger.migrate();
    } finally {
      await ledger.close();
    }
    const pool = openPool(databaseUrl);
    pools.push(pool);
    const clock = await inSession(databaseUrl, async (session) => {
      await untilAlone(session);
      return installMovableClock({ pool, session }, { start: startMs });
    });
    return {
      databaseUrl,
      pool,
      clock,
      drop: async () => {
        if (!pool.ended) await pool.end();
        await drop();
      },
    };
  } catch (error) {
    for (const pool of pools) await pool.end();
    await drop();
    throw error;
  }
}

async function clone(session: Client, name: string, template: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await session.query(
        `create database "${name}" template "${template.replaceAll('"', '""')}" strategy file_copy`,
      );
      return;
    } catch (error) {
      const isInUse = error instanceof Error && "code" in error && error.code === templateInUse;
      if (!isInUse) throw error;
      if (attempt === cloneTries) {
        throw new Error(
          `The database ${template} cannot be cloned while it is in use. Close what is connected to it, or name another one: a migrated database that only tests clone.`,
          { cause: error },
        );
      }
      await sleep(50);
    }
  }
}

/** A session that was closed may show for a moment still. */
async function untilAlone(session: Client): Promise<void> {
  for (let look = 0; look < 100; look += 1) {
    const { rows } = await session.query<{ others: number }>(
      `select count(*)::int as others from pg_stat_activity
       where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'`,
    );
    if (rows[0]?.others === 0) return;
    await sleep(20);
  }
}

function openPool(connectionString: string): Pool {
  const pool = new Pool({ connectionString, max: 10 });
  // A database that is dropped cuts idle connections: that is the end of a test, and no failure.
  pool.on("error", () => {});
  return pool;
}

async function inSession<Result>(
  connectionString: string,
  work: (session: Client) => Promise<Result>,
): Promise<Result> {
  const session = new Client({ connectionString });
  await session.connect();
  try {
    return await work(session);
  } finally {
    await session.end();
  }
}

function databaseOf(url: string): string {
  return decodeURIComponent(new URL(url).pathname.slice(1)) || "postgres";
}

function withDatabase(url: string, database: string): string {
  const changed = new URL(url);
  changed.pathname = `/${encodeURIComponent(database)}`;
  return changed.href;
}
