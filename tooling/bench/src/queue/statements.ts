import type { Arena } from "./arena.ts";
import { nothing, type Queue } from "./contender.ts";

/**
 * Enqueues and drains with each queue once, and answers the statements that Postgres counted per 1,000 jobs, BEGIN and
 * COMMIT among them. Apart from the rates, as counting takes time. Empty where Postgres cannot count.
 */
export async function measureStatements(
  arena: Arena,
  queues: readonly Queue[],
  count: number,
): Promise<Map<string, number>> {
  const statements = new Map<string, number>();
  if (!arena.hasStatistics) return statements;
  await countStatements(arena, "top");
  for (const queue of queues) {
    const before = await readStatements(arena, queue.database);
    await queue.enqueue(count);
    await queue.drain(count, nothing);
    const after = await readStatements(arena, queue.database);
    statements.set(queue.name, ((after - before) * 1_000) / count);
  }
  await countStatements(arena, "none");
  return statements;
}

async function countStatements({ admin }: Arena, which: "top" | "none"): Promise<void> {
  await admin.query(`ALTER SYSTEM SET pg_stat_statements.track = '${which}'`);
  await admin.query(`SELECT pg_reload_conf()`);
}

async function readStatements(arena: Arena, database: string): Promise<number> {
  const { rows } = await arena.admin.query<{ calls: string }>(
    `SELECT COALESCE(sum(calls), 0)::text AS calls
     FROM pg_stat_statements JOIN pg_database ON pg_database.oid = dbid
     -- The checks of foreign keys are triggers and no statements of the queue.
     WHERE datname = $1 AND query NOT LIKE '%FOR KEY SHARE OF x'`,
    [database],
  );
  return Number(rows[0]?.calls ?? 0);
}
