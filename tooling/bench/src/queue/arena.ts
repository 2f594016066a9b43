import { startPostgres, type PostgresCluster } from "@evenkeel/test-postgres";
import { Client, Pool } from "pg";

import { bareSql } from "./bare-sql.ts";
import { bullMq } from "./bullmq.ts";
import type { Contender, Queue } from "./contender.ts";
import { evenkeel } from "./evenkeel.ts";
import { graphileWorker } from "./graphile-worker.ts";
import { pgBoss } from "./pg-boss.ts";

/** The one Postgres that everything runs on. */
export interface Arena {
  readonly cluster: PostgresCluster;
  readonly admin: Pool;
  /** Whether it can count statements. */
  readonly hasStatistics: boolean;
  /** Creates a database and answers its name. */
  createDatabase(purpose: string): Promise<string>;
  url(database: string): string;
  stop(): Promise<void>;
}

/** Starts a durable Postgres, with `pg_stat_statements` loaded and resting where the build has it. */
export async function openArena(): Promise<Arena> {
  const cluster = await startPostgres({ durable: true });
  const hasStatistics = await loadStatistics(cluster);
  const admin = new Pool({ connectionString: cluster.url(), max: 2 });
  // A connection that is still closing when the server stops is told so.
  admin.on("error", () => {});
  let created = 0;
  return {
    cluster,
    admin,
    hasStatistics,
    createDatabase: async (purpose) => {
      created += 1;
      const name = `bench_${created}_${purpose}`;
      await admin.query(`CREATE DATABASE "${name}"`);
      return name;
    },
    url: (database) => cluster.url(database),
    stop: async () => {
      await admin.end();
      await cluster.stop();
    },
  };
}

async function loadStatistics(cluster: PostgresCluster): Promise<boolean> {
  const client = new Client({ connectionString: cluster.url() });
  // The restart cuts it.
  client.on("error", () => {});
  await client.connect();
  const { rowCount } = await client.query(
    `SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements'`,
  );
  if (rowCount !== 1) {
    await client.end();
    return false;
  }
  await client.query(`ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'`);
  await client.query(`ALTER SYSTEM SET pg_stat_statements.track = 'none'`);
  await client.end();
  await cluster.restart();
  const again = new Client({ connectionString: cluster.url() });
  await again.connect();
  await again.query(`CREATE EXTENSION pg_stat_statements`);
  await again.end();
  return true;
}

/** The contenders' names, in the order of the report's columns. */
export const contenderNames = [
  "evenkeel",
  "graphile-worker",
  "graphile-worker, batched",
  "pg-boss",
  "BullMQ",
] as const;

/** One of those measured. */
export type ContenderName = (typeof contenderNames)[number];

/** The name of the limit, which is no contender. */
export const limitName = "bare SQL";

/** Opens a contender in a new database. */
export async function openContender(arena: Arena, name: ContenderName): Promise<Contender> {
  const database = await arena.createDatabase(name);
  const url = arena.url(database);
  switch (name) {
    case "evenkeel":
      return evenkeel(database, url);
    case "graphile-worker":
      return graphileWorker(database, url, false);
    case "graphile-worker, batched":
      return graphileWorker(database, url, true);
    case "pg-boss":
      return pgBoss(database, url);
    case "BullMQ":
      return bullMq(database, url);
  }
}

/** Opens every contender and the limit. */
export async function openAll(arena: Arena): Promise<Queue[]> {
  const queues: Queue[] = [];
  for (const name of contenderNames) queues.push(await openContender(arena, name));
  const database = await arena.createDatabase(limitName);
  queues.push(await bareSql(database, arena.url(database)));
  return queues;
}
