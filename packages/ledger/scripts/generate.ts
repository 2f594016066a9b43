import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/*
 * Writes src/generated: Prisma's client, and the migrations as a module, so that a bundled host carries
 * them without reading files.
 */
const packageFolder = join(import.meta.dirname, "..");
const prismaFolder = join(packageFolder, "..", "..", "prisma");
const generatedFolder = join(packageFolder, "src", "generated");

// `prisma generate` looks for its schema engine and never runs it: any existing file keeps it from
// downloading one, and a migrate command under the same variable fails loudly.
const engine = process.env["PRISMA_SCHEMA_ENGINE_BINARY"] ?? join(packageFolder, "package.json");
execFileSync(
  join(packageFolder, "node_modules", ".bin", "prisma"),
  ["generate", "--config", join(prismaFolder, "prisma.config.ts")],
  {
    cwd: packageFolder,
    stdio: ["ignore", "ignore", "inherit"],
    env: {
      ...process.env,
      PRISMA_SCHEMA_ENGINE_BINARY: engine,
      PRISMA_HIDE_UPDATE_MESSAGE: "1",
      CHECKPOINT_DISABLE: "1",
    },
  },
);

const migrationsFolder = join(prismaFolder, "migrations");
const migrations = readdirSync(migrationsFolder, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => entry.name)
  .toSorted()
  .map((name) => {
    const sql = readFileSync(join(migrationsFolder, name, "migration.sql"), "utf8");
    return { name, checksum: createHash("sha256").update(sql).digest("hex"), sql };
  });

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
