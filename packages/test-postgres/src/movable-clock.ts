import {
  installMovableClock as install,
  type MovableClock,
  type MovableClockOptions,
} from "@evenkeel/core/database-clock";

import { connectDirectly, type TestDatabase } from "./test-database.ts";

export type { MovableClock, MovableClockOptions } from "@evenkeel/core/database-clock";

/**
 * Gives a test database a clock that stands still until it is moved, by a session that goes round a pooler.
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
  options: MovableClockOptions = {},
): Promise<MovableClock> {
  return connectDirectly(database, (session) => install({ pool: database.pool, session }, options));
}
