import { defined } from "@evenkeel/core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { listAudit } from "./audit/audit.ts";
import { toSqlClient, type SqlValue } from "./database/database.ts";
import type { Scope } from "./database/tenant-scope.ts";
import { createScopedDeadLetters } from "./dead-letters/dead-letter-records.ts";
import { createScopedRuns } from "./runs/run-records.ts";
import { explainStatement, rowsRead } from "./testing/plan.ts";
import { setup, type Setup } from "./testing/setup.ts";

let t: Setup;
beforeAll(async () => {
  t = await setup();
  // A big tenant, function, type, reason, actor and action each, and small ones.
  await t.database.pool.query(`
    INSERT INTO evenkeel.background_dead_letter
      (kind, source_id, tenant_id, name, reason, error, status, created_at, resolved_at)
    SELECT 'JOB', n::text, CASE WHEN n % 4 = 0 THEN 't' || n % 200 ELSE 'big' END, CASE WHEN n % 999 = 0 THEN 'rare' ELSE 'y' || n % 5 END,
      CASE WHEN n % 501 = 0 THEN 'poison' ELSE 'exhausted' END, 'e', status, at, CASE WHEN status <> 'OPEN' THEN at END
    FROM (SELECT n, now() - (n / 20) * interval '1 minute' AS at,
      (CASE WHEN n % 1000 = 0 THEN 'DISCARDED' WHEN n % 3 = 0 THEN 'REQUEUED' ELSE 'OPEN' END)::evenkeel.dead_letter_status AS status
      FROM generate_series(1, 40000) AS n) AS letters;
    INSERT INTO evenkeel.background_function_run
      (run_id, function_id, dispatch_key, event_name, tenant_id, status, owner, started_at, heartbeat_at, finished_at)
    SELECT 'r' || n, CASE WHEN n % 999 = 0 THEN 'rare' ELSE 'f' || n % 3 END, 'k' || n / 2, 'e',
      CASE WHEN n % 4 = 0 THEN NULL WHEN n % 5 = 0 THEN 't' || n % 200 ELSE 'big' END, status, 'o', at, at, CASE WHEN status <> 'RUNNING' THEN at END
    FROM (SELECT n, now() - (n / 20) * interval '1 minute' AS at,
      (CASE WHEN n % 1000 = 0 THEN 'RUNNING' WHEN n % 301 = 0 THEN 'FAILED' ELSE 'SUCCEEDED' END)::evenkeel.run_status AS status
      FROM generate_series(1, 40000) AS n) AS runs;
    INSERT INTO evenkeel.background_audit_entry (actor, action, subject_kind, subject_id, at)
    SELECT CASE WHEN n % 999 = 0 THEN 'rare' ELSE 'ada' END, CASE WHEN n % 700 = 0 THEN 'job.cancel' ELSE 'queue.pause' END,
      'job', (n / 3)::text, now() - (n / 20) * interval '1 minute'
    FROM generate_series(1, 40000) AS n;
    ANALYZE`);
}, 120_000);
afterAll(() => t.close());

interface Asked {
  readonly text: string;
  readonly values: readonly SqlValue[];
  /** Behind whose row-level security it runs. */
  readonly tenantId: string | undefined;
}

/** A scope of every tenant, or of one, that notes what it is asked. */
function noteStatements(tenantId?: string): {
  readonly scope: Scope;
  readonly asked: Asked[];
} {
  const asked: Asked[] = [];
  const sql = toSqlClient(t.database.pool);
  const ask =
    (behind: string | undefined) =>
    async <Row extends object>(text: string, values: readonly SqlValue[] = []) => {
      const condition = tenantId === undefined ? "true" : `($1 = '${tenantId}')`;
      const scoped = text.replaceAll(/:tenant\(([^)]+)\)/gu, (_, column: string) =>
        condition.replace("$1", () => column),
      );
      asked.push({ text: scoped, values, tenantId: behind });
      return sql.query<Row>(scoped, values);
    };
  const scope: Scope = { ...defined({ tenantId }), query: ask(tenantId), findKeys: ask(undefined) };
  return { scope, asked };
}

const limit = 20;

/** Lists a first page and the next, and looks at the plan of each. */
async function readsFromIndexes(
  list: (scope: Scope, before?: string) => Promise<readonly { readonly key: string }[]>,
  tenantId?: string,
): Promise<boolean> {
  const { scope, asked } = noteStatements(tenantId);
  const first = await list(scope);
  expect(first.length).toBeGreaterThan(0);
  const next = await list(scope, first.at(-1)?.key);
  const keys = [...first, ...next].map(({ key }) => key);
  expect(new Set(keys).size).toBe(keys.length);
  // A tenant's page is found first, and then read.
  expect(asked).toHaveLength(tenantId === undefined ? 2 : 4);
  for (const { text, values, tenantId: behind } of asked) {
    const nodes = await explainStatement(t.database, text, values, behind);
    const reads = nodes.filter((node) => node["Relation Name"] !== undefined);
    // What a row's details are looked up in is empty here.
    const listed = reads.filter((node) => !/history|attempt/u.test(node["Relation Name"] ?? ""));
    expect(listed.filter((node) => node["Node Type"] === "Seq Scan")).toEqual([]);
    // A page of each status, and what a second condition leaves out of the narrower list.
    expect(nodes.filter((node) => rowsRead(node) > 600)).toEqual([]);
  }
  return true;
}

test.each([
  {},
  { status: "OPEN" },
  { status: "DISCARDED" },
  { tenantId: "big" },
  { tenantId: "t4", status: "OPEN" },
  { name: "rare" },
  { name: "y2", status: "REQUEUED" },
  { reason: "poison" },
  { reason: "exhausted", status: "OPEN" },
  { tenantId: "t4", name: "y4", reason: "exhausted" },
  { createdBefore: new Date(Date.now() - 3_600_000), status: "OPEN" },
] as const)("dead letters by %j are read from an index", async (filter) => {
  const isIndexed = await readsFromIndexes(async (scope, before) => {
    const letters = await createScopedDeadLetters(scope).list({
      ...filter,
      limit,
      ...defined({ before }),
    });
    return letters.map(({ id }) => ({ key: id }));
  });
  expect(isIndexed).toBe(true);
});

test.each([{}, { status: "OPEN" }, { status: "REQUEUED" }, { name: "y2" }] as const)(
  "a tenant's dead letters by %j are read from an index, behind row-level security",
  async (filter) => {
    const isIndexed = await readsFromIndexes(async (scope, before) => {
      const page = { ...filter, limit, ...defined({ before }) };
      const letters = await createScopedDeadLetters(scope).list(page);
      return letters.map(({ id }) => ({ key: id }));
    }, "big");
    expect(isIndexed).toBe(true);
  },
);

const runFilters = [
  {},
  { status: "FAILED" },
  { functionId: "rare" },
  { functionId: "f0", status: "FAILED" },
] as const;

test.each([
  ...runFilters.map((filter) => ({ filter, tenantId: undefined })),
  { filter: {}, tenantId: "big" },
  { filter: { status: "FAILED" }, tenantId: "big" },
] as const)(
  "runs by $filter are read from an index, of tenant $tenantId",
  async ({ filter, tenantId }) => {
    const isIndexed = await readsFromIndexes(async (scope, before) => {
      const runs = await createScopedRuns(scope).list({ ...filter, limit, ...defined({ before }) });
      return runs.map(({ runId }) => ({ key: runId }));
    }, tenantId);
    expect(isIndexed).toBe(true);
  },
);

test("a window's runs are read from an index", async () => {
  const { scope, asked } = noteStatements();
  expect(await createScopedRuns(scope).list({ dispatchKey: "k7" })).toHaveLength(2);
  for (const { text, values } of asked) {
    const nodes = await explainStatement(t.database, text, values);
    expect(nodes.filter((node) => rowsRead(node) > 50)).toEqual([]);
  }
});

test.each([
  {},
  { actor: "rare" },
  { actor: "ada" },
  { action: "job.cancel" },
  { subjectId: "7" },
  { subjectId: "7", actor: "ada" },
] as const)("the audit by %j is read from an index", async (filter) => {
  const isIndexed = await readsFromIndexes(async (scope, before) => {
    const entries = await listAudit(scope, { ...filter, limit, ...defined({ before }) });
    return entries.map(({ id }) => ({ key: id }));
  });
  expect(isIndexed).toBe(true);
});
