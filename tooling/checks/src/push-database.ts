import { createLedger, LedgerError, type Ledger } from "@evenkeel/ledger";

/*
 * Applies the migrations to the database at DATABASE_URL, as every host does at its start. Prisma's own
 * `migrate deploy` applies the same files and keeps the same records.
 */
const databaseUrl = process.env["DATABASE_URL"];

if (databaseUrl === undefined || databaseUrl === "") {
  console.error(
    "DATABASE_URL is not set. Set it to postgresql://user:password@host:5432/database.",
  );
  process.exitCode = 1;
} else {
  await push(databaseUrl);
}

async function push(url: string): Promise<void> {
  let ledger: Ledger | undefined;
  try {
    ledger = createLedger({ databaseUrl: url, maxConnections: 1 });
    const { applied } = await ledger.migrate();
    console.log(applied.length === 0 ? "Nothing to apply." : `Applied ${applied.join(", ")}.`);
  } catch (error) {
    if (!(error instanceof LedgerError)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  } finally {
    await ledger?.close();
  }
}
