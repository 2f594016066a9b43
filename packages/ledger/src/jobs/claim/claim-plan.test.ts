import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import { afterAll, beforeAll, expect, test } from "vitest";

import type { Statement } from "../../database/statement.ts";
import { explainStatement, type PlanNode } from "../../testing/plan.ts";
import { availabilityStatement, setAsideStatement } from "./availability.ts";
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
      (tenant_id, type, payload, run_at, turn_at, max_attempts, state, lane, owner, lease_expires_at)
    SELECT CASE WHEN n % 10 = 0 THEN 't' || n % 1000 ELSE 'big' END, 'a', '{}'::jsonb, now() - n * interval '1 second',
      now() - (n + n % 7 * 600) * interval '1 second', 3, 'PENDING'::evenkeel.job_state, NULL::evenkeel.lane, NULL,
      NULL::timestamptz
    FROM generate_series(1, 30000) AS n
    UNION ALL SELECT 'f' || n, 'a', '{}', now() + interval '1 day', now() + interval '1 day', 3, 'SCHEDULED', NULL, NULL, NULL
    FROM generate_series(1, 10000) AS n
    UNION ALL SELECT 't' || n % 100, 'a', '{}', now(), now(), 3, 'RUNNING', 'stable', 'o', now() + (n % 3 - 1) * interval '1 hour'
    FROM generate_series(1, 3000) AS n;
    UPDATE evenkeel.background_job SET bucket = evenkeel.bucket_of(tenant_id)`);
}

/** The plan of a claim. */
function explain(
  database: TestDatabase,
  statement: Statement<ClaimParameter>,
  limit: number,
  cappedType: string,
): Promise<readonly PlanNode[]> {
  const values = statement.values({
    lane: "stable",
    firstBucket: 0,
    lastBucket: 9_999,
    types: "{a,b}",
    versions: "{1,1}",
    after: null,
    afterBucket: null,
    from: null,
    fromBucket: null,
    wrapped: false,
    moves: true,
    except: "{}",
    limit,
    maxTenants: limit,
    cappedType,
    watermark: "-infinity",
    leaseMs: 30_000,
    owner: "o",
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
      expect([...indexes]).toContain("background_job_available");
    }
  },
);

test.each([
  { what: "without limits", statement: unlimitedClaimStatement, lines: 80, parts: 8 },
  { what: "under limits", statement: limitedClaimStatement, lines: 130, parts: 12 },
])("a claim $what fits on a page", ({ statement, lines: most, parts }) => {
  const lines = statement.text.split("\n").filter((line) => line.trim() !== "");
  expect(lines.length).toBeLessThanOrEqual(most);
  expect(lines.filter((line) => line.length > 100)).toEqual([]);
  const ctes = lines.filter((line) => /^ {2}\w+ AS (?:MATERIALIZED )?\(/u.test(line));
  expect(ctes.length).toBeLessThanOrEqual(parts);
  // Each says what it is for.
  expect(ctes.filter((line) => !line.includes(" -- "))).toEqual([]);
});

test.each([
  {
    what: "what is due and what expired",
    statement: availabilityStatement,
    values: ["{a,b}", "{}", 100],
  },
  { what: "what nobody knows", statement: setAsideStatement, values: ["{a}", 0, ""] },
])("the step beside the claim reads $what through an index", async ({ statement, values }) => {
  for (const database of [analyzed, unknown]) {
    const nodes = await explainStatement(database, statement.text, values);
    const reads = nodes.filter((node) => node["Relation Name"] === "background_job");
    expect(reads.filter((node) => node["Node Type"] === "Seq Scan")).toEqual([]);
    const read = (node: PlanNode): number => node["Actual Rows"] * node["Actual Loops"];
    // What expired, or the first jobs of each tenant; not the backlog.
    expect(Math.max(...reads.map(read))).toBeLessThan(10_000);
  }
});

function isCostly({ "Node Type": type }: PlanNode): boolean {
  return type.includes("Sort") || type.includes("Join") || type.includes("Loop");
}
