import type { Pool } from "pg";

import { explainRefusal } from "./ledger-error.ts";
import { runOn, type TransactionClient } from "./transaction-client.ts";

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
  /**
   * @param timeoutMs The bound of this statement, in milliseconds, where the client keeps bounds; a caller's own
   * transaction does not. Defaults to the client's.
   */
  query<Row extends object>(
    text: string,
    values?: readonly SqlValue[],
    timeoutMs?: number,
  ): Promise<Row[]>;
}

/** A statement's parameter. */
export type SqlValue = string | number | boolean | null;

/**
 * Adapts a caller's transaction client to {@link SqlClient}. It keeps no bounds: the transaction is the caller's. Its
 * statements throw LedgerError `not_migrated` where the ledger's tables are missing, and `not_granted` where the user
 * may not use them.
 */
export function toSqlClient(client: TransactionClient): SqlClient {
  return {
    query: async <Row extends object>(text: string, values: readonly SqlValue[] = []) => {
      try {
        return trustRows<Row>(await runOn(client, text, values));
      } catch (error) {
        throw explainRefusal(error);
      }
    },
  };
}

/** Returns a client whose statements take at most so many milliseconds, where the given one keeps bounds. */
export function within(sql: SqlClient, longestMs: number): SqlClient {
  return {
    query: async (text, values, timeoutMs = longestMs) =>
      sql.query(text, values, Math.min(timeoutMs, longestMs)),
  };
}

/** The columns of a row are those of the statement beside the call; a test runs each statement. */
function trustRows<Row extends object>(rows: unknown): Row[] {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the one place where rows get a type
  return rows as Row[];
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
