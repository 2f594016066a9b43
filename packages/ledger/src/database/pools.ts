import { Pool, type PoolConfig } from "pg";

import { LedgerError } from "./ledger-error.ts";

/** What the ledger asks of the pools that it opens itself. */
export interface PoolSettings {
  readonly maxConnections: number;
  /** For a free connection or a new one, in milliseconds. */
  readonly connectionTimeoutMs: number;
  /** After how many milliseconds the server ends a statement, where it can be asked to. */
  readonly statementTimeoutMs: number;
}

/** The pools that were opened here. */
const opened = new WeakSet<Pool>();

/** What a pool is opened with where nothing else is said: the ledger's own defaults. */
const usual: PoolSettings = {
  maxConnections: 10,
  connectionTimeoutMs: 10_000,
  statementTimeoutMs: 30_000,
};

/**
 * Opens a pool on a connection string, which may have Prisma's parameters. It keeps its connections alive, gives up on
 * those that do not open, and lets the process end while it is idle.
 *
 * @param settings Defaults to 10 connections, 10 s for one of them, and 30 s for a statement on the server.
 * @throws LedgerError `invalid_database_url`, without the string: it may hold a password.
 */
export function openPool(databaseUrl: string, settings: Partial<PoolSettings> = {}): Pool {
  let url: URL;
  try {
    url = new URL(databaseUrl);
  } catch {
    throw invalidUrl();
  }
  if (!/^postgres(ql)?:$/u.test(url.protocol)) throw invalidUrl();
  // Prisma's own parameters mean nothing to Postgres.
  for (const name of ["schema", "connection_limit", "pool_timeout", "pgbouncer"]) {
    url.searchParams.delete(name);
  }
  return open(
    new Pool({
      connectionString: url.href,
      ...toConfig({ ...usual, ...settings }),
      application_name: "evenkeel",
    }),
  );
}

/** Opens a pool to where another one leads, as the same user. */
export function openBeside(pool: Pool, settings: PoolSettings): Pool {
  const { options } = pool;
  const config = toConfig(settings);
  return open(
    new Pool({
      ...options,
      ...driverOf(pool),
      ...config,
      // It is no property that is listed.
      ...("password" in options ? { password: options.password } : {}),
      statement_timeout: options.statement_timeout ?? config.statement_timeout,
      min: 0,
    }),
  );
}

/** A product's pool may be of a driver of its own, which its type does not tell. */
function driverOf(pool: Pool): Pick<PoolConfig, "Client"> {
  if (!("Client" in pool) || typeof pool.Client !== "function") return {};
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it is what the pool makes its connections of
  return { Client: pool.Client as NonNullable<PoolConfig["Client"]> };
}

function toConfig(settings: PoolSettings) {
  return {
    max: settings.maxConnections,
    connectionTimeoutMillis: settings.connectionTimeoutMs,
    // A peer that is gone is noticed by the system within half a minute.
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    statement_timeout: settings.statementTimeoutMs,
    idle_in_transaction_session_timeout: settings.statementTimeoutMs,
    // A socket that never ends must not keep the process.
    allowExitOnIdle: true,
  };
}

function open(pool: Pool): Pool {
  opened.add(pool);
  return pool;
}

/**
 * Gives up the time-outs that the server was to keep, if a pooler has just refused them. PgBouncer does unless
 * `ignore_startup_parameters` names them, and settings of a session would reach other clients there.
 *
 * @returns Whether it has, so that a connection may succeed now.
 */
export function forgetTimeouts(pool: Pool, error: unknown): boolean {
  const isRefused = error instanceof Error && /startup parameter/iu.test(error.message);
  if (!isRefused || !opened.has(pool)) return false;
  delete pool.options.statement_timeout;
  delete pool.options.idle_in_transaction_session_timeout;
  return true;
}

function invalidUrl(): LedgerError {
  return new LedgerError(
    "invalid_database_url",
    "The database URL is not of the form postgresql://user:password@host:5432/database. Set DATABASE_URL.",
  );
}
