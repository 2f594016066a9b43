import { silentLogger } from "@evenkeel/core";
import { createLedger } from "@evenkeel/ledger";
import { startPostgres } from "@evenkeel/test-postgres";
import { startPgbouncer } from "@evenkeel/test-postgres/pgbouncer";
import type { TestCluster } from "@evenkeel/test-postgres/testing";
import { Client } from "pg";
import type { TestProject } from "vitest/node";

const template = "evenkeel_template";

/** Starts one cluster for the test run, with a migrated database that test files clone. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const cluster = await startPostgres({ durable: false });
  const admin = new Client({ connectionString: cluster.url() });
  await admin.connect();
  await admin.query(`CREATE DATABASE "${template}"`);
  await admin.end();

  const ledger = createLedger({ databaseUrl: cluster.url(template), logger: silentLogger });
  await ledger.migrate();
  await ledger.close();

  const pooler =
    process.env["EVENKEEL_TEST_POOLER"] === "pgbouncer"
      ? await startPgbouncer(cluster.url())
      : undefined;
  const provided: TestCluster = {
    url: cluster.url(),
    template,
    ...(pooler === undefined ? {} : { poolerUrl: pooler.url(cluster.url()) }),
  };
  project.provide("postgres", provided);
  return async () => {
    await pooler?.stop();
    await cluster.stop();
  };
}
