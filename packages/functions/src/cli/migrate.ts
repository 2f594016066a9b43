#!/usr/bin/env node
import { existsSync } from "node:fs";
import { parseArgs } from "node:util";

import { EvenkeelError, silentLogger } from "@evenkeel/core";
import { createLedger, openPool } from "@evenkeel/ledger";

const usage = `evenkeel-migrate [--grant-to <user>]

Brings the database at DATABASE_URL to the schema of the installed @evenkeel packages, in the Postgres schema
"evenkeel". Any number may run at once, and again. It reads .env.local and .env for what the environment leaves out.

      --grant-to <user>  lets that database user work with the tables, without owning them
  -h, --help             show this text
`;

/** Returns the exit code: 1 for a database that refused, 2 for a call that makes no sense. */
async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { "grant-to": { type: "string" }, help: { type: "boolean", short: "h" } },
  });
  if (values.help === true) {
    process.stdout.write(usage);
    return 0;
  }
  for (const file of [".env.local", ".env"]) if (existsSync(file)) process.loadEnvFile(file);
  const databaseUrl = (process.env["DATABASE_URL"] ?? "").trim();
  if (databaseUrl === "") {
    process.stderr.write(
      "evenkeel-migrate: DATABASE_URL is not set. Give it in the environment, in .env.local or in .env.\n",
    );
    return 2;
  }
  const pool = openPool(databaseUrl);
  // It says itself what it did.
  const ledger = createLedger({ pool, logger: silentLogger });
  try {
    const { applied } = await ledger.migrate();
    for (const name of applied) process.stdout.write(`applied ${name}\n`);
    if (applied.length === 0) process.stdout.write("the schema is up to date\n");
    const user = values["grant-to"];
    if (user !== undefined) {
      await pool.query("SELECT evenkeel.grant_to($1)", [user]);
      process.stdout.write(`granted to ${user}\n`);
    }
    return 0;
  } finally {
    await ledger.close();
    await pool.end();
  }
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof Error)) throw error;
  const isUsage = "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS");
  const text = error instanceof EvenkeelError ? error.message : `${error.name}: ${error.message}`;
  process.stderr.write(`evenkeel-migrate: ${text}\n${isUsage ? `\n${usage}` : ""}`);
  process.exitCode = isUsage ? 2 : 1;
}
