import type { ClaimedJob, Ledger } from "@evenkeel/ledger";
import type { Pool } from "pg";

import { percentile } from "../report.ts";
import type { Arena } from "./arena.ts";
import { openLedger } from "./evenkeel.ts";

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
  const queues = [];
  const { short, long, finished } = options;
  for (const fill of [
    { due: short, ended: 0 },
    { due: long, ended: 0 },
    { due: short, ended: finished },
  ]) {
    const name = `due_${fill.due}_ended_${fill.ended}`;
    const opened = await openLedger(arena.url(await arena.createDatabase(name)));
    await fillHistory(opened.pool, fill.ended);
    await fillTenant(opened.pool, "big", fill.due);
    await fillTenants(opened.pool);
    await settleDown(opened.pool);
    queues.push({ ...opened, times: [] as number[] });
  }
  // The first tenth warms up.
  const warmUp = Math.ceil(options.samples / 10);
  for (let sample = 0; sample < options.samples + warmUp; sample += 1) {
    for (const { ledger, times } of queues) {
      const startedAtMs = performance.now();
      const jobs = await claim(ledger, limits[sample % limits.length] ?? 10);
      if (sample >= warmUp) times.push(performance.now() - startedAtMs);
      await release(ledger, jobs);
    }
  }
  for (const queue of queues) await queue.close();
  const [shortP95, longP95, finishedP95] = queues.map(({ times }) => percentile(times, 0.95));
  return {
    shortP95: shortP95 ?? Number.NaN,
    longP95: longP95 ?? Number.NaN,
    finishedP95: finishedP95 ?? Number.NaN,
  };
}

/** Most claims until one tenant's one job is served, behind another's backlog, wherever the rotation stands. */
export async function measureSmallTenantsWait(arena: Arena, backlog: number): Promise<number> {
  const opened = await openLedger(arena.url(await arena.createDatabase("wait")));
  const { ledger, pool } = opened;
  await fillTenant(pool, "big", backlog);
  await settleDown(pool);
  let most = 0;
  for (const limit of limits) {
    for (const small of ["a small one before", "small, behind"]) {
      await fillTenant(pool, small, 1);
      for (let claims = 1; ; claims += 1) {
        const jobs = await claim(ledger, limit);
        await ledger.jobs.settle(jobs.map(({ id, fence }) => ({ id, fence, kind: "succeeded" })));
        most = Math.max(most, claims);
        if (jobs.some(({ tenantId }) => tenantId === small)) break;
      }
    }
  }
  await opened.close();
  return most;
}

async function claim(ledger: Ledger, limit: number): Promise<ClaimedJob[]> {
  const request = { lane: "stable", types: ["bench"], limit, leaseMs: 30_000 } as const;
  const { jobs } = await ledger.jobs.claim({ ...request, owner: "bench" });
  return jobs;
}

async function release(ledger: Ledger, jobs: readonly ClaimedJob[]): Promise<void> {
  await ledger.jobs.settle(jobs.map(({ id, fence }) => ({ id, fence, kind: "released" })));
}

const insert = `INSERT INTO evenkeel.background_job (tenant_id, type, payload, max_attempts)`;

async function fillTenant(pool: Pool, tenant: string, due: number): Promise<void> {
  await pool.query(
    `${insert} SELECT $1, 'bench', jsonb_build_object('n', n), 5 FROM generate_series(1, $2::int) AS n`,
    [tenant, due],
  );
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

/** Half of them before the big one in the order of the rotation, and half behind. */
async function fillTenants(pool: Pool): Promise<void> {
  await pool.query(
    `${insert} SELECT CASE n % 2 WHEN 0 THEN 'a' ELSE 'small' END || '-' || n, 'bench',
       jsonb_build_object('n', n), 5
     FROM generate_series(1, $1::int) AS n`,
    [smallTenants],
  );
}

/** What autovacuum does after a load of this size. */
async function settleDown(pool: Pool): Promise<void> {
  await pool.query(`VACUUM ANALYZE evenkeel.background_job`);
  await pool.query(`VACUUM ANALYZE evenkeel.background_job_history`);
}
