import { clockStatements } from "./clock-schema.ts";
import { connectDirectly, type TestDatabase } from "./test-database.ts";

/** Where a clock stands at first, unless told otherwise: within a minute, so that no window's edge is near. */
const defaultStart: number = Date.parse("2026-01-01T00:00:30.000Z");

/**
 * The time of a test database and of the hosts over it, which moves when it is told to. It has the methods of the
 * packages' `Clock`, so that a runner can wait on it.
 */
export interface MovableClock {
  /** Returns the time that the clock was last moved to, in milliseconds since 1970. */
  now(): number;
  /** Calls back once the clock has moved by so many milliseconds. Returns a function that prevents it. */
  setTimer(callback: () => void, delayMs: number): () => void;
  /** Moves the database and its hosts on, and calls back the timers that end meanwhile, in their order. */
  advance(byMs: number): Promise<void>;
  /** As {@link advance}, to a moment in milliseconds since 1970. A moment that has passed moves nothing. */
  moveTo(atMs: number): Promise<void>;
  /** Sets the clock back to where it stood at first and forgets its timers, for a test that begins anew. */
  reset(): Promise<void>;
}

/** Settings of {@link installMovableClock}. */
export interface MovableClockOptions {
  /** Where the clock stands at first, in milliseconds since 1970. Defaults to 2026-01-01T00:00:30Z. */
  readonly start?: number;
}

/**
 * Gives a test database a clock that stands still until it is moved. `now()`, `clock_timestamp()`,
 * `statement_timestamp()` and the defaults of columns read it; the keyword `CURRENT_TIMESTAMP` in a statement does not.
 *
 * Two differences from a real clock: each `clock_timestamp()` is a millisecond later than the one before, and `now()`
 * does not stand still within a transaction.
 *
 * @throws Error when a session of this database is open already: it would keep the real time.
 *
 * @example
 * const database = await createTestDatabase();
 * const clock = await installMovableClock(database);
 * await clock.advance(30_000); // leases of 30 s have expired
 */
export async function installMovableClock(
  database: TestDatabase,
  { start = defaultStart }: MovableClockOptions = {},
): Promise<MovableClock> {
  const timers = new Set<{ readonly atMs: number; readonly callback: () => void }>();
  let nowMs = start;

  async function set(atMs: number): Promise<void> {
    nowMs = atMs;
    await database.pool.query(`update clock.state set moved_to = $1`, [new Date(atMs)]);
  }

  async function moveTo(atMs: number): Promise<void> {
    for (;;) {
      const [next] = [...timers]
        .filter((timer) => timer.atMs <= atMs)
        .toSorted((one, other) => one.atMs - other.atMs);
      if (next === undefined) break;
      timers.delete(next);
      if (next.atMs > nowMs) await set(next.atMs);
      next.callback();
    }
    if (atMs > nowMs) await set(atMs);
  }

  async function reset(): Promise<void> {
    timers.clear();
    await database.pool.query(`select setval('clock.looks', 0)`);
    await set(start);
  }

  await connectDirectly(database, async (client) => {
    const { rows } = await client.query<{ open: number }>(
      `select count(*)::int as open from pg_stat_activity
       where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'`,
    );
    if (rows[0]?.open !== 0) {
      throw new Error(
        "Install the clock before the first query: open sessions keep the real time.",
      );
    }
    await client.query(clockStatements);
  });
  await reset();
  return {
    now: () => nowMs,
    setTimer: (callback, delayMs) => {
      const timer = { atMs: nowMs + delayMs, callback };
      timers.add(timer);
      return () => timers.delete(timer);
    },
    advance: (byMs) => moveTo(nowMs + byMs),
    moveTo,
    reset,
  };
}
