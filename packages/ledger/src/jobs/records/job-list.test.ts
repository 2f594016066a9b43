import { afterAll, beforeAll, expect, test } from "vitest";

import { explainStatement, rowsRead, type PlanNode } from "../../testing/plan.ts";
import { setup, type Setup } from "../../testing/setup.ts";
import type { JobStatus } from "../job.ts";
import { listStatements, type JobFilter, type JobPosition } from "./job-list.ts";
import type { JobRecord } from "./job-record.ts";

let t: Setup;
beforeAll(async () => {
  t = await setup();
  // One big tenant and two hundred small ones, ten types and a rare one; what ended in batches ended at one moment.
  await t.database.pool.query(`
    ALTER TABLE evenkeel.background_job SET (autovacuum_enabled = false);
    ALTER TABLE evenkeel.background_job_history SET (autovacuum_enabled = false);
    INSERT INTO evenkeel.background_job
      (tenant_id, type, payload, priority, run_at, turn_at, max_attempts, state, owner, lease_expires_at)
    SELECT CASE WHEN n % 4 = 0 THEN 't' || n % 200 ELSE 'big' END, CASE WHEN n % 999 = 0 THEN 'rare' ELSE 'y' || n % 10 END,
      '{}', n % 3, at, at - n % 3 * interval '10 minutes', 3, state::evenkeel.job_state,
      CASE WHEN state = 'RUNNING' THEN 'o' END, CASE WHEN state = 'RUNNING' THEN now() + interval '1 minute' END
    FROM (
      SELECT n, date_trunc('milliseconds', now() - n / 100 * interval '1 second') AS at, 'PENDING' AS state
      FROM generate_series(1, 30000) AS n
      UNION ALL SELECT n, date_trunc('milliseconds', now() + n / 1000 * interval '1 hour'), 'SCHEDULED'
      FROM generate_series(1, 20000) AS n
      UNION ALL SELECT n, date_trunc('milliseconds', now()), 'RUNNING' FROM generate_series(1, 400) AS n
    ) AS jobs;
    UPDATE evenkeel.background_job SET bucket = evenkeel.bucket_of(tenant_id);
    INSERT INTO evenkeel.background_job_history
      (id, tenant_id, type, version, payload, outcome, run_at, attempt, errors, created_at, finished_at)
    SELECT n, CASE WHEN n % 4 = 0 THEN 't' || n % 200 ELSE 'big' END, CASE WHEN n % 999 = 0 THEN 'rare' ELSE 'y' || n % 10 END,
      1, '{}', (CASE WHEN n % 500 = 0 THEN 'CANCELLED' WHEN n % 97 = 0 THEN 'DEAD' ELSE 'SUCCEEDED' END)::evenkeel.job_outcome,
      at, 1, '[]', at, at
    FROM (
      SELECT n, date_trunc('milliseconds', now() - (100000 - n) / 200 * interval '1 minute') AS at
      FROM generate_series(1, 100000) AS n
    ) AS jobs;
    ANALYZE`);
}, 120_000);
afterAll(() => t.close());

const ended: readonly JobStatus[] = ["SUCCEEDED", "DEAD", "CANCELLED"];
const statuses: readonly (JobStatus | readonly JobStatus[] | undefined)[] = [
  undefined,
  "RUNNING",
  "PENDING",
  "SCHEDULED",
  ended,
  ...ended,
];

/** Every combination that is offered. */
const filters: JobFilter[] = statuses.flatMap((status) =>
  [undefined, "big", "t4"].flatMap((tenantId) =>
    [undefined, "y2", "rare"].flatMap((type) => {
      if (type !== undefined && (status === undefined || status === "PENDING")) return [];
      const hasSucceeded = status === ended || status === "SUCCEEDED";
      if (type !== undefined && tenantId === undefined && hasSucceeded) return [];
      const filter = {
        ...(status === undefined ? {} : { status }),
        ...(tenantId === undefined ? {} : { tenantId }),
        ...(type === undefined ? {} : { type }),
      };
      const day = 86_400_000;
      const times = {
        finishedFrom: new Date(Date.now() - 2 * day),
        finishedBefore: new Date(Date.now() - day / 2),
      };
      const hasTimes = status === ended || status === "DEAD";
      return hasTimes ? [filter, { ...filter, ...times }] : [filter];
    }),
  ),
);

const limit = 20;

test.each(filters.map((filter) => [JSON.stringify(filter), filter] as const))(
  "a page of %s is read from an index, the first and a later one",
  async (_, filter) => {
    const operator = t.ledger.asOperator("ada").jobs;
    const first = await operator.list({ ...filter, limit });
    const after = first.at(-1);
    for (const page of [filter, ...(after === undefined ? [] : [{ ...filter, after }])]) {
      for (const statement of listStatements(page, undefined)) {
        const { text, values } = statement(limit);
        const nodes = await explainStatement(
          t.database,
          text.replaceAll(/:tenant\([^)]+\)/gu, "true"),
          values,
        );
        const reads = nodes.filter((node) => node["Relation Name"] !== undefined);
        expect(reads.length).toBeGreaterThan(0);
        expect(reads.filter((node) => node["Node Type"] === "Seq Scan")).toEqual([]);
        // A page of each type and outcome, and what ended at one moment; or what runs.
        const bound = 11 * 3 * (limit + 1) + 450;
        const most = (node: PlanNode): boolean => rowsRead(node) > bound;
        expect(nodes.filter(most)).toEqual([]);
      }
    }
  },
);

test.each(filters.map((filter) => [JSON.stringify(filter), filter] as const))(
  "a tenant's page of %s is read from an index, behind row-level security",
  async (_, { tenantId = "big", ...filter }) => {
    for (const statement of listStatements(filter, tenantId)) {
      const { text, values, isOfKeys } = statement(limit);
      const scoped = text.replaceAll(/:tenant\(([^)]+)\)/gu, `($1 = '${tenantId}')`);
      const behind = isOfKeys ? undefined : tenantId;
      const nodes = await explainStatement(t.database, scoped, values, behind);
      const bound = 11 * 3 * (limit + 1) + 450;
      expect(nodes.filter((node) => rowsRead(node) > bound)).toEqual([]);
    }
    const mine = t.ledger.forTenant(tenantId).jobs;
    const all = t.ledger.asOperator("ada").jobs;
    const ids = (jobs: readonly { readonly id: string }[]): string[] => jobs.map(({ id }) => id);
    const first = await mine.list({ ...filter, limit });
    expect(ids(first)).toEqual(ids(await all.list({ ...filter, tenantId, limit })));
    const after = first.at(-1);
    if (after === undefined) return;
    const next = await all.list({ ...filter, tenantId, limit, after });
    expect(ids(await mine.list({ ...filter, limit, after }))).toEqual(ids(next));
  },
);

/** Lists page by page, to the end. */
async function walk(filter: JobFilter): Promise<JobRecord[]> {
  const all: JobRecord[] = [];
  for (let after: JobPosition | undefined; ; after = all.at(-1)) {
    const page = await t.ledger
      .asOperator("ada")
      .jobs.list({ ...filter, limit: 200, ...(after === undefined ? {} : { after }) });
    if (page.length === 0) return all;
    all.push(...page);
  }
}

test("pages follow one another without a gap or a repetition, in the order of each status", async () => {
  const { pool } = t.database;
  const count = async (where: string): Promise<number> => {
    const { rows } = await pool.query<{ count: number }>(
      `SELECT (SELECT count(*) FROM evenkeel.background_job WHERE tenant_id = 't4' AND ${where})::int
         + (SELECT count(*) FROM evenkeel.background_job_history WHERE tenant_id = 't4' AND ${where})::int AS count`,
    );
    return rows[0]?.count ?? 0;
  };
  const everything = await walk({ tenantId: "t4" });
  expect(everything).toHaveLength(await count("true"));
  expect(new Set(everything.map(({ id, finishedAt }) => `${id} ${finishedAt === null}`)).size).toBe(
    everything.length,
  );
  const order = everything.map(({ status }) => (ended.includes(status) ? "ENDED" : status));
  expect([...new Set(order)]).toEqual(["RUNNING", "PENDING", "SCHEDULED", "ENDED"]);
  const keys = everything.map(({ status, runAt, priority, finishedAt, id }) => {
    if (status === "RUNNING") return [0, -Number(id)];
    if (status === "PENDING") return [1, runAt.getTime() - priority * 600_000, Number(id)];
    if (status === "SCHEDULED") return [2, runAt.getTime(), Number(id)];
    return [3, -(finishedAt?.getTime() ?? 0), -Number(id)];
  });
  const byKey = (a: number[], b: number[]): number =>
    a.map((part, place) => part - (b[place] ?? 0)).find((difference) => difference !== 0) ?? 0;
  expect(keys).toEqual(keys.toSorted(byKey));
  expect(await walk({ tenantId: "t4", type: "y4", status: ended })).toHaveLength(
    await count("type = 'y4'").then(async (all) => {
      const { rows } = await pool.query(
        `SELECT FROM evenkeel.background_job WHERE tenant_id = 't4' AND type = 'y4'`,
      );
      return all - rows.length;
    }),
  );
  const scheduled = await walk({ status: "SCHEDULED", type: "rare" });
  expect(scheduled).toHaveLength(20);
});

test("over every tenant, too", async () => {
  const pending = await walk({ status: "PENDING" });
  expect(new Set(pending.map(({ id }) => id)).size).toBe(30_000);
}, 60_000);

test("what no index serves is refused, with what to do, and a tenant's scope answers no other's jobs", async () => {
  const { jobs } = t.ledger.asOperator("ada");
  for (const filter of [
    { type: "y2" },
    { type: "y2", tenantId: "big" },
    { type: "y2", status: "PENDING" },
    { type: "y2", status: ["DEAD", "SUCCEEDED"] },
  ] as const) {
    await expect(jobs.list(filter)).rejects.toMatchObject({
      code: "invalid_options",
      message: expect.stringContaining("not listed by type"),
    });
  }
  const mine = t.ledger.forTenant("t4").jobs;
  expect(await mine.list({ tenantId: "big" })).toEqual([]);
  const own = await mine.list({ status: "PENDING", limit: 200 });
  expect(new Set(own.map(({ tenantId }) => tenantId))).toEqual(new Set(["t4"]));
});
