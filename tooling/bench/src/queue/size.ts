import { Client } from "pg";

import type { Arena } from "./arena.ts";
import { nothing, type Contender } from "./contender.ts";

/** Bytes per job that a contender's tables and indexes take. */
export interface Size {
  readonly waiting: Bytes;
  /** After all were drained, as autovacuum left it. */
  readonly drained: Bytes;
}

interface Bytes {
  readonly tables: number;
  readonly indexes: number;
}

/** Fills a contender that is empty with so many jobs and drains them. */
export async function measureSize(
  arena: Arena,
  contender: Contender,
  count: number,
): Promise<Size> {
  const url = arena.url(contender.database);
  await contender.enqueue(count);
  const waiting = await readBytes(url, contender.schema, count);
  await contender.drain(count, nothing);
  const drained = await readBytes(url, contender.schema, count);
  return { waiting, drained };
}

async function readBytes(databaseUrl: string, schema: string, jobs: number): Promise<Bytes> {
  const client = new Client({ connectionString: databaseUrl });
  await client.connect();
  const { rows } = await client.query<{ tables: string; indexes: string }>(
    `SELECT sum(pg_table_size(pg_class.oid)) AS tables, sum(pg_indexes_size(pg_class.oid)) AS indexes
     FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
     WHERE nspname = $1 AND relkind = 'r'`,
    [schema],
  );
  await client.end();
  const bytes = (value: string | undefined): number => Number(value ?? 0) / jobs;
  return { tables: bytes(rows[0]?.tables), indexes: bytes(rows[0]?.indexes) };
}
