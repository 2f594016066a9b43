import { Pool } from "pg";

import { inBulk, type Queue } from "./contender.ts";

/** As ours. */
const claimSize = 2_000;
const settleSize = 500;

/** Loops at a time: as ours, which claims and settles at once. */
const loops = 2;

const tables = `
CREATE TABLE job (
  id bigserial PRIMARY KEY, payload jsonb NOT NULL, state text NOT NULL DEFAULT 'PENDING',
  run_at timestamptz NOT NULL DEFAULT now(), attempt int NOT NULL DEFAULT 0
);
CREATE INDEX job_due ON job (run_at, id) WHERE state = 'PENDING';
CREATE TABLE job_history (
  id bigint PRIMARY KEY, payload jsonb NOT NULL, attempt int NOT NULL, finished_at timestamptz NOT NULL
)`;

const insert = `INSERT INTO job (payload) SELECT unnest($1::jsonb[])`;

const claim = `
UPDATE job SET state = 'RUNNING', attempt = attempt + 1
WHERE id = ANY (ARRAY(
  SELECT id FROM job WHERE state = 'PENDING' AND run_at <= now()
  ORDER BY run_at, id LIMIT ${claimSize} FOR UPDATE SKIP LOCKED
))
RETURNING id, payload, attempt`;

const settle = `
WITH done AS (DELETE FROM job WHERE id = ANY ($1::bigint[]) RETURNING id, payload, attempt)
INSERT INTO job_history SELECT id, payload, attempt, now() FROM done`;

/**
 * The limit: what Postgres and the driver give a loop of two bare statements, one that claims and one that
 * moves to a history, over one connection pool. No leases, fences, tenants, retries or errors.
 */
export async function bareSql(database: string, databaseUrl: string): Promise<Queue> {
  const pool = new Pool({ connectionString: databaseUrl, max: loops });
  // A connection that is still closing when the server stops is told so.
  pool.on("error", () => {});
  await pool.query(tables);
  return {
    name: "bare SQL",
    database,
    enqueue: (count) =>
      inBulk(count, (numbers) => pool.query(insert, [numbers.map((n) => JSON.stringify({ n }))])),
    drain: async () => {
      await Promise.all(Array.from({ length: loops }, () => drainLoop(pool)));
    },
    close: () => pool.end(),
  };
}

async function drainLoop(pool: Pool): Promise<void> {
  for (;;) {
    const { rows } = await pool.query<{ id: string }>(claim);
    if (rows.length === 0) return;
    for (let from = 0; from < rows.length; from += settleSize) {
      await pool.query(settle, [rows.slice(from, from + settleSize).map(({ id }) => id)]);
    }
  }
}
