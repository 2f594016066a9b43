import { expect, test } from "vitest";

import { installMovableClock } from "./movable-clock.ts";
import { createTestDatabase, type TestDatabase } from "./test-database.ts";

const start = Date.parse("2026-01-01T00:00:30Z");
const minuteMs = 60_000;

/** Milliseconds since 1970 as an expression of SQL gives them. */
async function timeOf({ pool }: Pick<TestDatabase, "pool">, expression: string): Promise<number> {
  const { rows } = await pool.query<{ at: Date }>(`select ${expression} as at`);
  return rows[0]?.at.getTime() ?? Number.NaN;
}

test("every way to ask for the time reads the clock, which stands until it is moved", async () => {
  await using database = await createTestDatabase();
  const clock = await installMovableClock(database);
  for (const expression of [
    "now()",
    "clock_timestamp()",
    "statement_timestamp()",
    "transaction_timestamp()",
  ]) {
    const before = await timeOf(database, expression);
    expect(before - start).toBeLessThan(100);
    await clock.advance(minuteMs);
    expect((await timeOf(database, expression)) - before).toBeGreaterThanOrEqual(minuteMs);
    await clock.reset();
  }
});

test("what is written later has a later time, by the defaults of columns too", async () => {
  await using database = await createTestDatabase();
  await installMovableClock(database);
  const client = await database.pool.connect();
  await client.query(`set search_path = public`);
  const { rows } = await client.query(
    `select distinct column_default from information_schema.columns
     where table_schema = 'evenkeel' and column_default ~* 'current_timestamp|now\\(|clock_timestamp'`,
  );
  client.release(true);
  expect(rows).toContainEqual({ column_default: "clock.clock_timestamp()" });
  // Whatever else is made of the time reads this clock as well.
  expect(JSON.stringify(rows).replaceAll("clock.clock_timestamp()", "")).not.toMatch(
    /CURRENT_TIMESTAMP|now\(|clock_timestamp/u,
  );
  const first = await timeOf(database, "clock_timestamp()");
  expect(await timeOf(database, "clock_timestamp()")).toBeGreaterThan(first);
});

test("an index can serve a comparison with now()", async () => {
  await using database = await createTestDatabase();
  await installMovableClock(database);
  const client = await database.pool.connect();
  await client.query(`create temp table due (at timestamptz)`);
  await client.query(`create index on due (at)`);
  await client.query(`set enable_seqscan = off`);
  const { rows } = await client.query(`explain select * from due where at <= now()`);
  client.release();
  expect(JSON.stringify(rows)).toContain("Index");
});

test("timers are called back in their order, each at its time in the database", async () => {
  await using database = await createTestDatabase();
  const clock = await installMovableClock(database, { start });
  const called: string[] = [];
  const note = (name: string) => (): void => void called.push(`${name} ${clock.now() - start}`);
  clock.setTimer(note("late"), 3_000);
  clock.setTimer(() => {
    note("early")();
    clock.setTimer(note("begun by a timer"), 500);
  }, 1_000);
  clock.setTimer(note("not yet"), 60_000);
  const cancel = clock.setTimer(note("cancelled"), 2_000);
  cancel();
  await clock.advance(5_000);
  expect(called).toEqual(["early 1000", "begun by a timer 1500", "late 3000"]);
  expect(clock.now()).toBe(start + 5_000);
});

test("the clock never goes back but by a reset, which forgets its timers", async () => {
  await using database = await createTestDatabase();
  const clock = await installMovableClock(database, { start });
  let called = 0;
  clock.setTimer(() => {
    called += 1;
  }, 1_000);
  await clock.moveTo(start - minuteMs);
  expect(clock.now()).toBe(start);
  await clock.reset();
  await clock.advance(minuteMs);
  expect(called).toBe(0);
  await clock.reset();
  expect(clock.now()).toBe(start);
  expect(await timeOf(database, "now()")).toBe(start);
});

test("a database with open sessions is refused: they would keep the real time", async () => {
  await using database = await createTestDatabase();
  await database.pool.query("select 1");
  await expect(installMovableClock(database)).rejects.toThrow(/before the first query/u);
});
