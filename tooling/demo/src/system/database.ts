import { randomBytes } from "node:crypto";

import { startPostgres } from "@evenkeel/test-postgres";
import { Client } from "pg";

import type { Teardown } from "./teardown.ts";

/** The demo's database. */
export interface DemoDatabase {
  readonly url: string;
  /** Where it is, without a password. */
  readonly description: string;
  /** Kills the server as a crash would, and starts it again; absent where it is not the demo's own. */
  readonly restart?: () => Promise<void>;
}

/**
 * Starts an embedded Postgres, or takes the database at DATABASE_URL. One that already holds tables of
 * Evenkeel is left alone: the demo then makes itself a database beside it and drops it at the end.
 *
 * @throws Error with one line that says what was tried and what to set.
 */
export async function openDatabase(teardown: Teardown, signal: AbortSignal): Promise<DemoDatabase> {
  const given = process.env["DATABASE_URL"] ?? "";
  if (given === "") {
    const cluster = await startPostgres({ durable: true, signal });
    teardown.add("Postgres", () => cluster.stop());
    return {
      url: cluster.url(),
      description: "embedded Postgres",
      restart: () => cluster.restart(),
    };
  }
  const target = describe(given);
  const client = new Client({ connectionString: given });
  client.on("error", () => {});
  try {
    await client.connect();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(
      `No Postgres answers at ${target} (${reason}). Set DATABASE_URL to one that does, or unset it and an embedded one is started.`,
      { cause: error },
    );
  }
  try {
    const { rows } = await client.query<{ used: boolean }>(
      `SELECT to_regclass('evenkeel.background_job') IS NOT NULL
         OR to_regclass('inbox.message') IS NOT NULL AS "used"`,
    );
    if (rows[0]?.used !== true) return { url: given, description: target };
    const name = `evenkeel_demo_${randomBytes(4).toString("hex")}`;
    await client.query(`CREATE DATABASE "${name}"`);
    teardown.add("the demo's database", () => dropDatabase(given, name));
    const url = new URL(given);
    url.pathname = `/${name}`;
    return { url: url.href, description: describe(url.href) };
  } finally {
    await client.end();
  }
}

async function dropDatabase(adminUrl: string, name: string): Promise<void> {
  const client = new Client({ connectionString: adminUrl });
  await client.connect();
  try {
    await client.query(`DROP DATABASE IF EXISTS "${name}" WITH (FORCE)`);
  } finally {
    await client.end();
  }
}

function describe(databaseUrl: string): string {
  try {
    const url = new URL(databaseUrl);
    return `${url.hostname}:${url.port === "" ? "5432" : url.port}${url.pathname}`;
  } catch {
    throw new Error(
      "DATABASE_URL is not of the form postgresql://user:password@host:5432/database. Set it so, or unset it.",
    );
  }
}
