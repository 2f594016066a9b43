import { spawn } from "node:child_process";
import { join } from "node:path";

import { startPostgres } from "@evenkeel/test-postgres";
import { Client } from "pg";

/** Runs `npm run db:push` against an empty Postgres that it starts, twice: the second run finds nothing to do. */
const root = join(import.meta.dirname, "..", "..", "..");

async function push(databaseUrl: string): Promise<number | null> {
  const child = spawn("npm", ["run", "db:push"], {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, DATABASE_URL: databaseUrl },
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
}

async function countTables(databaseUrl: string): Promise<number> {
  const client = new Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    const { rowCount } = await client.query(
      "select from information_schema.tables where table_schema = 'evenkeel'",
    );
    return rowCount ?? 0;
  } finally {
    await client.end();
  }
}

const cluster = await startPostgres({ durable: false });
try {
  const statuses = [await push(cluster.url()), await push(cluster.url())];
  const tables = await countTables(cluster.url());
  const ok = statuses.every((status) => status === 0) && tables > 0;
  console.log(`db:push ended with ${statuses.join(" and ")}; ${tables} tables.`);
  process.exitCode = ok ? 0 : 1;
} finally {
  await cluster.stop();
}
