import { Pool } from "pg";

import { LedgerError } from "./ledger-error.ts";

/**
 * Runs one statement and returns its rows. Parameters are text, numbers, booleans or null: rows and lists
 * travel as one JSON text, so that every driver encodes them alike.
 *
 * How the ledger's statements are written:
 *
 * - Unquoted lower case, `evenkeel.background_job AS job`, with a word as an alias. Quotes stand only around the
 *   camelCase name of a result's column. A statement of more than four parameters names them (`defineStatement`).
 * - `clock_timestamp()` where a lease or a status is decided: it is the time at which the row's lock was held, however
 *   long the statement waited for it. `now()` only where an index scan needs a stable bound, or where all of a
 *   statement must see one time; the statement's comment says which.
 */
export interface SqlClient {
  query<Row extends object>(text: string, values?: readonly SqlValue[]): Promise<Row[]>;
}

/** A statement's parameter. */
export type SqlValue = string | number | boolean | null;

/** A `pg` client, pool client or pool. */
export interface PgQueryable {
  query(text: string, values?: unknown[]): Promise<{ rows: unknown[] }>;
}

/** A Prisma client, or the client that `prisma.$transaction(async (tx) => …)` hands out. */
export interface PrismaRawClient {
  $queryRawUnsafe(query: string, ...values: unknown[]): PromiseLike<unknown>;
}

/** What a caller can pass to work inside its own transaction. */
export type TransactionClient = PgQueryable | PrismaRawClient;

/** Adapts a caller's transaction client to {@link SqlClient}. */
export function toSqlClient(client: TransactionClient): SqlClient {
  return {
    query: async <Row extends object>(text: string, values: readonly SqlValue[] = []) => {
      const rows =
        "$queryRawUnsafe" in client
          ? await client.$queryRawUnsafe(text, ...values)
          : (await client.query(text, [...values])).rows;
      return trustRows<Row>(rows);
    },
  };
}

/** The columns of a row are those of the statement beside the call; a test runs each statement. */
function trustRows<Row extends object>(rows: unknown): Row[] {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the one place where rows get a type
  return rows as Row[];
}

/**
 * Opens a pool on a connection string.
 *
 * @throws LedgerError `invalid_database_url`, without the string: it may hold a password.
 */
export function openPool(databaseUrl: string, maxConnections: number): Pool {
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
  return new Pool({
    connectionString: url.href,
    max: maxConnections,
    connectionTimeoutMillis: 10_000,
    application_name: "evenkeel",
  });
}

function invalidUrl(): LedgerError {
  return new LedgerError(
    "invalid_database_url",
    "The database URL is not of the form postgresql://user:password@host:5432/database. Set DATABASE_URL.",
  );
}

/** Host, port and database of a pool, for messages: never its user or password. */
export function describeTarget(pool: Pool): string {
  const { connectionString, host, port, database } = pool.options;
  if (connectionString === undefined) {
    return `${host ?? "localhost"}:${port ?? 5432}/${database ?? ""}`;
  }
  const url = new URL(connectionString);
  return `${url.hostname}:${url.port === "" ? 5432 : url.port}${url.pathname}`;
}
