import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, realpathSync } from "node:fs";
import { join } from "node:path";

import { createLedger, LedgerError, type Ledger } from "@evenkeel/ledger";

/*
 * Applies the migrations to the database at DATABASE_URL: through Prisma's own command where its schema
 * engine is at hand, else through the ledger. Both apply the same files and keep the same records.
 */
const databaseUrl = process.env["DATABASE_URL"];
const root = join(import.meta.dirname, "..", "..", "..");
/** The workspace that has Prisma's command among its dependencies. */
const prismaHome = join(root, "packages", "jobs", "node_modules");

if (databaseUrl === undefined || databaseUrl === "") {
  console.error(
    "DATABASE_URL is not set. Set it to postgresql://user:password@host:5432/database.",
  );
  process.exitCode = 1;
} else if (hasSchemaEngine()) {
  console.log("Applying migrations with prisma migrate deploy.");
  const prisma = spawnSync(
    join(prismaHome, ".bin", "prisma"),
    ["migrate", "deploy", "--config", join(root, "prisma", "prisma.config.ts")],
    { cwd: root, stdio: "inherit" },
  );
  process.exitCode = prisma.status ?? 1;
} else {
  console.log(
    "Applying migrations with the ledger's migrate(): Prisma's schema engine is not installed.",
  );
  await migrateWithLedger(databaseUrl);
}

function hasSchemaEngine(): boolean {
  const named = process.env["PRISMA_SCHEMA_ENGINE_BINARY"];
  if (named !== undefined) return existsSync(named) && !named.endsWith("package.json");
  const prisma = realpathSync(join(prismaHome, "prisma"));
  const engines = join(prisma, "..", "@prisma", "engines");
  return (
    existsSync(engines) && readdirSync(engines).some((file) => file.startsWith("schema-engine-"))
  );
}

async function migrateWithLedger(url: string): Promise<void> {
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
