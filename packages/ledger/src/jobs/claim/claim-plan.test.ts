import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import { afterAll, beforeAll, expect, test } from "vitest";

import type { Statement } from "../../database/statement.ts";
import { explainStatement, type PlanNode } from "../../testing/plan.ts";
import {
  limitedClaimStatement,
  unlimitedClaimStatement,
  type ClaimParameter,
} from "./claim-statement.ts";

let analyzed: TestDatabase;
let unknown: TestDatabase;
beforeAll(async () => {
  [analyzed, unknown] = await Promise.all([createTestDatabase(), createTestDatabase()]);
  for (const database of [analyzed, unknown]) await fill(database);
  await analyzed.pool.query("ANALYZE");
});
afterAll(() => Promise.all([analyzed.drop(), unknown.drop()]));

/** One tenant's backlog, a thousand small tenants, work of the future, and what runs: some of it left behind. */
async function fill(database: TestDatabase): Promise<void> {
  await database.pool.query(`
    ALTER TABLE evenkeel.background_job SET (autovacuum_enabled = false);
    ALTER TABLE evenkeel.background_job_limit SET (autovacuum_enabled = false);
    INSERT INTO evenkeel.background_job
      (tenant_id, type, payload, run_at, max_attempts, priority, state, owner, lease_expires_at)
    SELECT CASE WHEN n % 10 = 0 THEN 't' || n % 1000 ELSE 'big' END, 'a', '{}'::jsonb, now() - n * interval '1 second', 3,
      CASE WHEN n % 7 = 0 THEN 3 ELSE 0 END, 'PENDING'::evenkeel.job_state, NULL, NULL::timestamptz
    FROM generate_series(1, 30000) AS n
    UNION ALL SELECT 'big', 'a', '{}', now() + interval '1 day', 3, 0, 'PENDING', NULL, NULL
    FROM generate_series(1, 10000)
    UNION ALL SELECT 't' || n % 100, 'a', '{}', now(), 3, 0, 'RUNNING', 'o', now() + (n % 3 - 1) * interval '1 hour'
    FROM generate_series(1, 3000) AS n`);
}

/** The plan of a claim. */
function explain(
  database: TestDatabase,
  statement: Statement<ClaimParameter>,
  limit: number,
  cappedType: string,
  { lane = "stable", type = "a", leaseWatermark = "-infinity" } = {},
): Promise<readonly PlanNode[]> {
  const values = statement.values({
    lane,
    types: JSON.stringify([type]),
    typeCount: 1,
    after: null,
    origin: null,
    wrapped: false,
    limit,
    maxVisits: 2_000,
    cappedType,
    watermark: "-infinity",
    leaseMs: 30_000,
    owner: "o",
    expiredFirst: 1,
    leaseWatermark,
  });
  return explainStatement(database, statement.text, values);
}

async function decide(database: TestDatabase, sql: string): Promise<void> {
  await database.pool.query(`DELETE FROM evenkeel.background_job_limit; ${sql}`);
}

const everyTenant = `INSERT INTO evenkeel.background_job_limit (kind, subject, max_running)
  SELECT 'EVERY_TENANT'::evenkeel.job_limit_kind, '', 5
  UNION ALL SELECT DISTINCT 'TENANT'::evenkeel.job_limit_kind, tenant_id, NULL::int FROM evenkeel.background_job
  UNION ALL SELECT 'TENANT', 'idle' || n, NULL FROM generate_series(1, 5000) AS n`;
const oneType = `INSERT INTO evenkeel.background_job_limit (kind, subject, max_running) VALUES ('TYPE', 'a', 50)`;

const worlds = [
  { what: "no limits", sql: "", capped: "", statement: unlimitedClaimStatement },
  {
    what: "a cap for every tenant",
    sql: everyTenant,
    capped: "",
    statement: limitedClaimStatement,
  },
  { what: "a cap of the type", sql: oneType, capped: "a", statement: limitedClaimStatement },
].flatMap((world) => [
  { ...world, statistics: "with statistics", database: () => analyzed },
  { ...world, statistics: "without", database: () => unknown },
]);

test.each(worlds)(
  "a claim reads the queue through its indexes, and sorts a batch, with $what, $statistics",
  async (world) => {
    const database = world.database();
    await decide(database, world.sql);
    for (const limit of [10, 200]) {
      const nodes = await explain(database, world.statement, limit, world.capped);
      const reads = nodes.filter((node) => node["Relation Name"] === "background_job");
      expect(reads.length).toBeGreaterThan(3);
      expect(reads.filter((node) => node["Node Type"] === "Seq Scan")).toEqual([]);
      // What one node reads in all is a matter of the batch and of the tenants that it meets, not of the backlog,
      // nor of the tenants with limits.
      const bound = Math.max(1_000, limit * 12);
      const rowsOf = (node: PlanNode): number =>
        (node["Actual Rows"] +
          (node["Rows Removed by Filter"] ?? 0) +
          (node["Rows Removed by Join Filter"] ?? 0)) *
        node["Actual Loops"];
      expect(nodes.filter((node) => "Relation Name" in node && rowsOf(node) > bound)).toEqual([]);
      expect(nodes.filter((node) => rowsOf(node) > bound && isCostly(node))).toEqual([]);
      const indexes = new Set(nodes.flatMap((node) => node["Index Name"] ?? []));
      expect([...indexes]).toContain("background_job_due");
    }
  },
);

test("tenants with nothing but scheduled work are passed many at a time", async () => {
  await decide(analyzed, "");
  await analyzed.pool.query(`
    INSERT INTO evenkeel.background_job (tenant_id, type, payload, run_at, max_attempts)
    SELECT 't' || n, 'b', '{}'::jsonb, now() + n % 1999 * interval '1 day', 3 FROM generate_series(1, 4000) AS n`);
  const nodes = await explain(analyzed, unlimitedClaimStatement, 10, "", { type: "b" });
  expect(nodes.filter((node) => node["Node Type"] === "ModifyTable")).toMatchObject([
    { "Actual Rows": 2 },
    { "Actual Rows": 0 },
  ]);
  const steps = nodes.filter((node) => node["Node Type"] === "Recursive Union");
  expect(Math.max(...steps.map((node) => node["Actual Rows"]))).toBeLessThan(4_000 / 12);
});

test("leases that ended before the watermark are not looked at, though a transaction left idle keeps their entries", async () => {
  const idle = await unknown.pool.connect();
  await idle.query("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_current_xact_id()");
  await unknown.pool.query(`
    INSERT INTO evenkeel.background_job
      (tenant_id, type, payload, max_attempts, lane, state, lease_expires_at)
    SELECT 't', 'c', '{}'::jsonb, 3, 'canary', 'RUNNING', now() - n * interval '1 second'
    FROM generate_series(60, 10000) AS n;
    DELETE FROM evenkeel.background_job WHERE type = 'c';
    DELETE FROM evenkeel.background_job_limit`);
  const blocksOf = async (leaseWatermark: string): Promise<number> => {
    const nodes = await explain(unknown, unlimitedClaimStatement, 10, "", {
      type: "c",
      lane: "canary",
      leaseWatermark,
    });
    const reads = nodes.filter((node) => node["Index Name"] === "background_job_expired");
    return reads.reduce((sum, node) => sum + node["Shared Hit Blocks"], 0);
  };
  const [all, few] = [
    await blocksOf("-infinity"),
    await blocksOf(new Date(Date.now() - 5_000).toISOString()),
  ];
  await idle.query("COMMIT");
  idle.release();
  expect(few).toBeLessThan(all / 10);
});

function isCostly({ "Node Type": type }: PlanNode): boolean {
  return type.includes("Sort") || type.includes("Join") || type.includes("Loop");
}
