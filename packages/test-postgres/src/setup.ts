import { createTestDatabase, type TestDatabase } from "./test-database.ts";

/** A database of a test's own with a ledger on it; `await using` ends both where its scope ends. */
export interface Setup<Ledger> extends AsyncDisposable {
  readonly database: TestDatabase;
  readonly ledger: Ledger;
  /** Closes the ledger and drops the database. */
  close(): Promise<void>;
}

/**
 * Clones the migrated template and opens a ledger on it.
 *
 * @example
 * await using t = await setup(createLedger);
 * await t.ledger.jobs.counts();
 */
export async function setup<Ledger extends { close(): Promise<void> }>(
  createLedger: (options: { readonly pool: TestDatabase["pool"] }) => Ledger,
): Promise<Setup<Ledger>> {
  const database = await createTestDatabase();
  const ledger = createLedger({ pool: database.pool });
  const close = async (): Promise<void> => {
    await ledger.close();
    await database.drop();
  };
  return { database, ledger, close, [Symbol.asyncDispose]: close };
}
