import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/*
 * Writes src/generated/migrations.ts: the files of prisma/migrations as a module, so that a bundled host
 * carries them without reading files.
 */
const packageFolder = join(import.meta.dirname, "..");
const migrationsFolder = join(packageFolder, "..", "..", "prisma", "migrations");
const generatedFolder = join(packageFolder, "src", "generated");

const migrations = readdirSync(migrationsFolder, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => entry.name)
  .toSorted()
  .map((name) => {
    const sql = readFileSync(join(migrationsFolder, name, "migration.sql"), "utf8");
    return { name, checksum: createHash("sha256").update(sql).digest("hex"), sql };
  });

// Nothing of an older build stays behind.
rmSync(generatedFolder, { recursive: true, force: true });
mkdirSync(generatedFolder, { recursive: true });
writeFileSync(
  join(generatedFolder, "migrations.ts"),
  [
    "/** The files of prisma/migrations, oldest first. Generated; do not edit. */",
    "export const migrations: readonly { readonly name: string; readonly checksum: string; readonly sql: string }[] =",
    `  ${JSON.stringify(migrations, null, 2)};`,
    "",
  ].join("\n"),
);
