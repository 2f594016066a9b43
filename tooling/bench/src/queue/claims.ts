import type { Pool } from "pg";

import { benchType, openBenchQueue, type BenchQueue } from "../claims/bench-queue.ts";
import { timeWarmClaims } from "../claims/claim-times.ts";
import { percentile } from "../report.ts";
import type { Arena } from "./arena.ts";

const smallTenants = 1_000;
const limits = [10, 25, 50, 100];

/** The p95 of claims, in milliseconds. */
export interface ClaimTimes {
  readonly shortP95: number;
  readonly longP95: number;
  /** Over the short backlog, with finished jobs in the history. */
  readonly finishedP95: number;
}

/**
 * Claims of 10 to 100 jobs in turn with one tenant's short and long backlog, and with a short one beside a long
 * history; 1,000 small tenants of one job each in all. What was claimed is released, so that every claim meets the
 * same.
 */
export async function measureClaims(
  arena: Arena,
  options: {
    readonly short: number;
    readonly long: number;
    readonly finished: number;
    readonly samples: number;
  },
): Promise<ClaimTimes> {
  const subjects = [];
  const { short, long, finished } = options;
  for (const { due, ended } of [
    { due: short, ended: 0 },
    { due: long, ended: 0 },
    { due: short, ended: finished },
  ]) {
    const name = `due_${due}_ended_${ended}`;
    const queue = await openQueue(arena, name);
    await fillHistory(queue.pool, ended);
    await queue.enqueue({ tenantOf: () => "big", count: due });
    // Half of them before the big one in an order by name, and half behind.
    await queue.enqueue({
      tenantOf: (n) => `${n % 2 === 0 ? "a" : "small"}-${n}`,
      count: smallTenants,
    });
    await queue.settleDown();
    await queue.pool.query(`VACUUM ANALYZE evenkeel.background_job_history`);
    subjects.push({ name, queue, types: [benchType] });
  }
  const timed = await timeWarmClaims(subjects, limits, options.samples);
  for (const { queue } of subjects) await queue.close();
  const [shortP95, longP95, finishedP95] = timed.map(({ times }) => percentile(times, 0.95));
  return {
    shortP95: shortP95 ?? Number.NaN,
    longP95: longP95 ?? Number.NaN,
    finishedP95: finishedP95 ?? Number.NaN,
  };
}

/** Most claims until one tenant's one job is served, behind another's backlog, wherever the rotation stands. */
export async function measureSmallTenantsWait(arena: Arena, backlog: number): Promise<number> {
  const queue = await openQueue(arena, "wait");
  await queue.enqueue({ tenantOf: () => "big", count: backlog });
  await queue.settleDown();
  let most = 0;
  for (const limit of limits) {
    for (const small of ["a small one before", "small, behind"]) {
      await queue.enqueue({ tenantOf: () => small, count: 1 });
      for (let claims = 1; ; claims += 1) {
        const { jobs } = await queue.claim({ types: [benchType], limit });
        await queue.start?.(jobs);
        await queue.succeed(jobs);
        most = Math.max(most, claims);
        if (jobs.some(({ tenantId }) => tenantId === small)) break;
      }
    }
  }
  await queue.close();
  return most;
}

async function openQueue(arena: Arena, purpose: string): Promise<BenchQueue> {
  return openBenchQueue(arena.url(await arena.createDatabase(purpose)));
}

/** Jobs that have ended, over 50 tenants and half a year. Their ids are of no job that waits. */
async function fillHistory(pool: Pool, ended: number): Promise<void> {
  await pool.query(
    `INSERT INTO evenkeel.background_job_history
       (id, tenant_id, type, version, payload, lane, outcome, run_at, attempt, errors, created_at, finished_at)
     SELECT -n, 'tenant-' || n % 50, 'bench', 1, jsonb_build_object('n', n), 'stable', 'SUCCEEDED', at, 1, '[]', at, at
     FROM generate_series($1::int, 1, -1) AS n
     CROSS JOIN LATERAL (SELECT now() - n * interval '1.5 seconds' AS at) AS ended`,
    [ended],
  );
}
