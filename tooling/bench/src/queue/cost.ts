import { readFile } from "node:fs/promises";

import type { Arena } from "./arena.ts";
import type { Queue } from "./contender.ts";
import { nothing } from "./rates.ts";

/** What 1,000 jobs cost, from the enqueueing in bulk to the last settlement. */
export interface Cost {
  /** CPU of this process, in seconds. */
  readonly hostSeconds: number;
  /** CPU of Postgres and all its backends, in seconds; `undefined` where there is no /proc. */
  readonly postgresSeconds: number | undefined;
  /** Statements that Postgres counted, BEGIN and COMMIT among them; `undefined` where it cannot. */
  readonly statements: number | undefined;
}

/** Enqueues and drains with each queue once, with statements counted, which the rates are measured without. */
export async function measureCost(
  arena: Arena,
  queues: readonly Queue[],
  count: number,
): Promise<Map<string, Cost>> {
  const costs = new Map<string, Cost>();
  await countStatements(arena, true);
  const perThousand = (after: number | undefined, before: number | undefined) =>
    after === undefined || before === undefined ? undefined : ((after - before) * 1_000) / count;
  for (const queue of queues) {
    const before = await readCounters(arena, queue.database);
    await queue.enqueue(count);
    await queue.drain(count, nothing);
    const after = await readCounters(arena, queue.database);
    costs.set(queue.name, {
      hostSeconds: perThousand(after.host, before.host) ?? Number.NaN,
      postgresSeconds: perThousand(after.postgres, before.postgres),
      statements: perThousand(after.statements, before.statements),
    });
  }
  await countStatements(arena, false);
  return costs;
}

async function countStatements({ admin, hasStatistics }: Arena, on: boolean): Promise<void> {
  if (!hasStatistics) return;
  await admin.query(`ALTER SYSTEM SET pg_stat_statements.track = '${on ? "top" : "none"}'`);
  await admin.query(`SELECT pg_reload_conf()`);
}

interface Counters {
  readonly host: number;
  readonly postgres: number | undefined;
  readonly statements: number | undefined;
}

async function readCounters(arena: Arena, database: string): Promise<Counters> {
  const { user, system } = process.cpuUsage();
  return {
    host: (user + system) / 1_000_000,
    postgres: await readCpuSeconds(arena.cluster.pid).catch(() => undefined),
    statements: await readStatements(arena, database),
  };
}

async function readStatements(arena: Arena, database: string): Promise<number | undefined> {
  if (!arena.hasStatistics) return undefined;
  const { rows } = await arena.admin.query<{ calls: string }>(
    `SELECT COALESCE(sum(calls), 0)::text AS calls
     FROM pg_stat_statements JOIN pg_database ON pg_database.oid = dbid
     -- The checks of foreign keys are triggers and no statements of the queue.
     WHERE datname = $1 AND query NOT LIKE '%FOR KEY SHARE OF x'`,
    [database],
  );
  return Number(rows[0]?.calls ?? 0);
}

/** The kernel's unit of /proc (USER_HZ). */
const ticksPerSecond = 100;

/** CPU of a process and of all its children, those that ended as well. */
async function readCpuSeconds(pid: number): Promise<number> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
  let ticks = await readTicks(pid, 4);
  for (const child of children.split(" ")) {
    // One may end in between; the parent then counts it among those that ended.
    if (child.trim() !== "") ticks += await readTicks(Number(child), 2).catch(() => 0);
  }
  return ticks / ticksPerSecond;
}

/** The fields utime, stime, and with four of them also cutime and cstime. */
async function readTicks(pid: number, fields: 2 | 4): Promise<number> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8");
  // The name, in parentheses, may hold blanks.
  const values = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return values.slice(11, 11 + fields).reduce((sum, value) => sum + Number(value), 0);
}
