import { execFileSync } from "node:child_process";
import { join } from "node:path";

/*
 * Writes src/generated: a Prisma client, as a product has one. Only tests use it, and no build contains it:
 * they enqueue in its transactions.
 */
const packageFolder = join(import.meta.dirname, "..");

// `prisma generate` looks for its schema engine and never runs it: any existing file keeps it from
// downloading one, and a migrate command under the same variable fails loudly.
const engine = process.env["PRISMA_SCHEMA_ENGINE_BINARY"] ?? join(packageFolder, "package.json");
execFileSync(
  join(packageFolder, "node_modules", ".bin", "prisma"),
  ["generate", "--config", join(packageFolder, "..", "..", "prisma", "prisma.config.ts")],
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
