import { DeadlineExceededError, withDeadline } from "@evenkeel/core";
import type { Pool, PoolClient } from "pg";

import { describeTarget, toSqlClient, type SqlClient, type SqlValue } from "./database.ts";
import { LedgerError } from "./ledger-error.ts";
import { connectedAtMs } from "./pool-watch.ts";
import { forgetTimeouts } from "./pools.ts";

/** How long the ledger waits for its database, in milliseconds. */
export interface Patience {
  /** For a connection: a free one of its pool, or a new one. */
  readonly connectionTimeoutMs: number;
  /** For a statement, the wait for its connection included. */
  readonly statementTimeoutMs: number;
}

/**
 * The connections of a pool, none of which is waited for without a bound. One that does not answer in time is closed.
 * So is each that has not answered since that statement was sent, when its turn comes: after a network went silent
 * they would cost a time-out each.
 *
 * `query` repeats a statement that Postgres ended to resolve a deadlock, within its bound. The ledger's own statements
 * lock rows in one order, but a caller's transaction may hold some of them in its own.
 */
export interface Connections extends SqlClient {
  /**
   * Works on one connection, for more than one statement. The connection is closed when the work throws.
   *
   * @param statementTimeoutMs The bound of each statement. Defaults to the pool's.
   */
  hold<Result>(
    work: (sql: SqlClient) => Promise<Result>,
    statementTimeoutMs?: number,
  ): Promise<Result>;
}

/** Returns the connections of a pool, which {@link watchPool} is to listen to. */
export function createConnections(pool: Pool, patience: Patience): Connections {
  /** When each connection last answered. */
  const answeredAtMs = new WeakMap<PoolClient, number>();
  /** A connection that has not answered since then is not trusted. */
  let doubtedUntilMs = Number.NEGATIVE_INFINITY;

  const isTrusted = (client: PoolClient): boolean => {
    const lastMs = answeredAtMs.get(client) ?? connectedAtMs(client) ?? Number.NEGATIVE_INFINITY;
    return lastMs >= doubtedUntilMs;
  };

  const checkOut = async (timeoutMs: number): Promise<PoolClient> => {
    for (;;) {
      const client = await connect(pool, Math.min(patience.connectionTimeoutMs, timeoutMs));
      if (isTrusted(client)) return client;
      release(client, true);
    }
  };

  const bound = (client: PoolClient, defaultTimeoutMs: number): SqlClient => ({
    query: async <Row extends object>(
      text: string,
      values?: readonly SqlValue[],
      timeoutMs: number = defaultTimeoutMs,
    ) => {
      const sentAtMs = performance.now();
      try {
        const query = (): Promise<Row[]> => toSqlClient(client).query<Row>(text, values);
        const rows = await withDeadline(timeoutMs, query);
        answeredAtMs.set(client, performance.now());
        return rows;
      } catch (error) {
        if (!(error instanceof DeadlineExceededError)) throw error;
        doubtedUntilMs = Math.max(doubtedUntilMs, sentAtMs);
        throw unanswered(describeTarget(pool), timeoutMs);
      }
    },
  });

  const hold: Connections["hold"] = async (work, timeoutMs = patience.statementTimeoutMs) => {
    const client = await checkOut(timeoutMs);
    let hasFailed = true;
    try {
      const result = await work(bound(client, timeoutMs));
      hasFailed = false;
      return result;
    } finally {
      release(client, hasFailed);
    }
  };

  return {
    hold,
    query: async (text, values, timeoutMs = patience.statementTimeoutMs) => {
      const deadlineMs = performance.now() + timeoutMs;
      const leftMs = (): number => Math.max(1, deadlineMs - performance.now());
      return hold(async (sql) => {
        for (;;) {
          try {
            return await sql.query(text, values, leftMs());
          } catch (error) {
            if (!isDeadlock(error) || leftMs() === 1) throw error;
          }
        }
      }, timeoutMs);
    },
  };
}

/** Whether Postgres ended a statement that waited for others in a circle. What it had done is undone: it may be repeated. */
function isDeadlock(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "40P01";
}

function unanswered(target: string, timeoutMs: number): LedgerError {
  return new LedgerError(
    "unanswered",
    `Postgres at ${target} did not answer a statement within ${Math.round(timeoutMs)} ms. Its connection was closed; whether the statement was carried out is not known.`,
    { target, timeoutMs },
  );
}

/** A pooler may know no time-outs of a session: then it is asked for a connection without them. */
async function connect(pool: Pool, timeoutMs: number): Promise<PoolClient> {
  try {
    return await take(pool, timeoutMs);
  } catch (error) {
    if (!forgetTimeouts(pool, error)) throw error;
    return take(pool, timeoutMs);
  }
}

/** Takes a connection that has a listener from the start: one that is cut raises an error between two statements. */
function take(pool: Pool, timeoutMs: number): Promise<PoolClient> {
  if (pool.ending || pool.ended) {
    const target = describeTarget(pool);
    const message = `The connections to Postgres at ${target} were ended by ledger.close() or pool.end() before this call. Close a ledger after its last call and its last drain, or create another one.`;
    return Promise.reject(new LedgerError("closed", message, { target }));
  }
  return new Promise((resolve, reject) => {
    let isAwaited = true;
    const timer = setTimeout(() => {
      isAwaited = false;
      const target = describeTarget(pool);
      const hint =
        (pool.options.connectionTimeoutMillis ?? 0) > 0
          ? ""
          : " The pool has no connectionTimeoutMillis: set it, else connections that never open fill the pool.";
      const message = `No connection to Postgres at ${target} was free or opened within ${timeoutMs} ms.${hint}`;
      reject(new LedgerError("unreachable", message, { target, timeoutMs }));
    }, timeoutMs);
    pool.connect((error, client) => {
      clearTimeout(timer);
      if (client === undefined) reject(error ?? new Error("The pool has no connection."));
      else if (isAwaited) resolve(client.on("error", ignore));
      else client.release();
    });
  });
}

/** A statement under way has its socket closed at once. */
function release(client: PoolClient, isToBeClosed: boolean): void {
  client.release(isToBeClosed);
  client.off("error", ignore);
}

function ignore(): void {}
