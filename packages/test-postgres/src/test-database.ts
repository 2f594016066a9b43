import { randomUUID } from "node:crypto";

import { Client, Pool } from "pg";
import { inject } from "vitest";

/** What the test run's set-up provides to test files. */
export interface TestCluster {
  /** Connection string of the cluster, with rights to create databases. */
  readonly url: string;
  /** Name of the migrated database that test databases are cloned from. */
  readonly template: string;
  /** Where a pooler in transaction mode listens before it; absent: tests connect to Postgres itself. */
  readonly poolerUrl?: string;
}

declare module "vitest" {
  export interface ProvidedContext {
    postgres: TestCluster;
  }
}

/** A database of a test's own; `await using` drops it where its scope ends. */
export interface TestDatabase extends AsyncDisposable {
  /** Its connection string, by way of the pooler where the test run has one. */
  readonly databaseUrl: string;
  /** A pool of up to 10 connections, which opens the first with the first query. */
  readonly pool: Pool;
  /** Another pool on the same database, closed by `drop`: a second host, so to speak. */
  connect(maxConnections?: number): Pool;
  /** Closes the pools and removes the database. */
  drop(): Promise<void>;
}

/**
 * Clones the migrated template of this test run into a new database.
 *
 * @param options.migrated `false` gives an empty database, for tests of the migrations themselves.
 */
export async function createTestDatabase(
  options: { readonly migrated?: boolean } = {},
): Promise<TestDatabase> {
  const cluster = inject("postgres");
  const name = `test_${randomUUID().replaceAll("-", "")}`;
  const template = options.migrated === false ? "template0" : cluster.template;
  await administer(
    cluster.url,
    `CREATE DATABASE "${name}" TEMPLATE "${template}" STRATEGY FILE_COPY`,
  );

  const url = new URL(cluster.poolerUrl ?? cluster.url);
  url.pathname = `/${name}`;
  const pools: Pool[] = [];
  const connect = (maxConnections = 10): Pool => {
    const pool = new Pool({ connectionString: url.href, max: maxConnections });
    // A dropped database cuts idle connections; that is the end of a test, not a failure.
    pool.on("error", () => {});
    pools.push(pool);
    return pool;
  };
  const drop = async (): Promise<void> => {
    await Promise.all(pools.map(async (pool) => (pool.ended ? undefined : pool.end())));
    await administer(cluster.url, `DROP DATABASE IF EXISTS "${name}" WITH (FORCE)`);
  };
  return {
    databaseUrl: url.href,
    pool: connect(),
    connect,
    drop,
    [Symbol.asyncDispose]: drop,
  };
}

/** Works on a session of a test database that goes round a pooler, and ends it. */
export async function connectDirectly<Result>(
  { databaseUrl }: Pick<TestDatabase, "databaseUrl">,
  work: (client: Client) => Promise<Result>,
): Promise<Result> {
  const url = new URL(inject("postgres").url);
  url.pathname = new URL(databaseUrl).pathname;
  return inSession(url.href, work);
}

async function administer(url: string, statement: string): Promise<void> {
  await inSession(url, async (client) => {
    await client.query(statement);
  });
}

async function inSession<Result>(
  url: string,
  work: (client: Client) => Promise<Result>,
): Promise<Result> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
