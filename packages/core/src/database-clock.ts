/** Where a clock stands at first, unless told otherwise: within a minute, so that no window's edge is near. */
const defaultStart: number = Date.parse("2026-01-01T00:00:30.000Z");

const openSessions = `
select count(*)::int as open from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'`;

// Functions of these names ahead of Postgres' own on the search path. Within a command time passes by a
// millisecond per look at the clock, so that what is written later has a later time.
/**
 * Gives a database a clock that stands still: `update clock.state set moved_to = …` moves it. Sessions that were open
 * before keep the real time.
 */
export const clockStatements: string = `
create schema clock;
create sequence clock.looks minvalue 0;
create table clock.state (moved_to timestamptz not null);
insert into clock.state values (pg_catalog.now());
create function clock.clock_timestamp() returns timestamptz language sql volatile as
  $$ select moved_to + nextval('clock.looks') * interval '1 millisecond' from clock.state $$;
create function clock.now() returns timestamptz language sql stable as
  $$ select moved_to + last_value * interval '1 millisecond' from clock.state, clock.looks $$;
create function clock.statement_timestamp() returns timestamptz language sql stable as
  $$ select clock.now() $$;
create function clock.transaction_timestamp() returns timestamptz language sql stable as
  $$ select clock.now() $$;
do $do$
declare defaulted record;
begin
  for defaulted in select table_schema, table_name, column_name, column_default from information_schema.columns
    where table_schema not in ('clock', 'information_schema', 'pg_catalog')
      and column_default ~ 'CURRENT_TIMESTAMP|now\\(\\)|clock_timestamp\\(\\)'
  loop
    execute format('alter table %I.%I alter column %I set default %s',
      defaulted.table_schema, defaulted.table_name, defaulted.column_name,
      regexp_replace(defaulted.column_default, 'CURRENT_TIMESTAMP|now\\(\\)|clock_timestamp\\(\\)',
        'clock.clock_timestamp()', 'g'));
  end loop;
  execute format('alter database %I set search_path = clock, pg_catalog, public', current_database());
end $do$`;

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

/** What runs statements on a database: a client or a pool of `pg`. */
export interface ClockSession {
  query(statement: string, values?: unknown[]): Promise<{ readonly rows: readonly unknown[] }>;
}

/** The database that a clock is installed in. */
export interface ClockedDatabase {
  /** Reads and moves the clock once it is installed. No session of it is open before. */
  readonly pool: ClockSession;
  /** A session on Postgres itself, not through a pooler, for the installation alone. */
  readonly session: ClockSession;
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
 * const clock = await installMovableClock({ pool, session });
 * await clock.advance(30_000); // leases of 30 s have expired
 */
export async function installMovableClock(
  { pool, session }: ClockedDatabase,
  { start = defaultStart }: MovableClockOptions = {},
): Promise<MovableClock> {
  const timers = new Set<{ readonly atMs: number; readonly callback: () => void }>();
  let nowMs = start;

  async function set(atMs: number): Promise<void> {
    nowMs = atMs;
    await pool.query(`update clock.state set moved_to = $1`, [new Date(atMs)]);
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
    await pool.query(`select setval('clock.looks', 0)`);
    await set(start);
  }

  const { rows } = await session.query(openSessions);
  const [counted] = rows;
  if (
    typeof counted !== "object" ||
    counted === null ||
    !("open" in counted) ||
    counted.open !== 0
  ) {
    throw new Error("Install the clock before the first query: open sessions keep the real time.");
  }
  await session.query(clockStatements);
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
