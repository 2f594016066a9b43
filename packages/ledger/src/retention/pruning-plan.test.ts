import { afterAll, beforeAll, expect, test } from "vitest";

import { setup, type Setup } from "../testing/setup.ts";
import { countStatement, deleteStatement } from "./pruning.ts";
import { resolveRetention } from "./resolved-retention.ts";

let t: Setup;
beforeAll(async () => {
  t = await setup();
  // Two months with a row every five minutes, of every status in turn.
  await t.database.pool.query(`
    INSERT INTO evenkeel.background_dispatch_window (dispatch_key, schedule, scope, window_start,
      window_seconds, status, fence, owner, correlation_id, enqueued_at, created_at, updated_at)
    SELECT 'k' || n, 's', 'global', at, 3600, status, gen_random_uuid(), 'o', 'c',
      CASE WHEN status = 'ENQUEUED' THEN at END, at, at
    FROM (SELECT n, now() - n * interval '5 minutes' AS at, (ARRAY['ENQUEUED', 'MISSED',
      'INLINE_EMERGENCY', 'SKIPPED_OVERLAP'])[1 + n % 4]::evenkeel.window_status AS status
      FROM generate_series(1, 20000) AS n) AS rows;
    INSERT INTO evenkeel.background_dispatch_guard (function_id, dispatch_key, run_id, taken_at)
    SELECT 'f', 'k' || n, 'r' || n, now() - n * interval '5 minutes' FROM generate_series(1, 20000) AS n;
    INSERT INTO evenkeel.background_function_run (run_id, function_id, dispatch_key, event_name, status,
      owner, started_at, heartbeat_at, finished_at)
    SELECT 'r' || n, 'f', 'k' || n, 'e', (ARRAY['SUCCEEDED', 'FAILED', 'CANCELLED', 'SKIPPED_DUPLICATE'])[1 + n % 4]::evenkeel.run_status,
      'o', at, at, at
    FROM (SELECT n, now() - n * interval '5 minutes' AS at FROM generate_series(1, 20000) AS n) AS rows;
    INSERT INTO evenkeel.background_job_history (id, tenant_id, type, version, payload, lane, outcome,
      run_at, attempt, errors, created_at, finished_at)
    SELECT n, 't', 'j', 1, '{}', 'stable', (ARRAY['SUCCEEDED', 'DEAD', 'CANCELLED'])[1 + n % 3]::evenkeel.job_outcome,
      at, 1, '[]', at, at
    FROM (SELECT n, now() - n * interval '5 minutes' AS at FROM generate_series(1, 20000) AS n) AS rows;
    INSERT INTO evenkeel.background_dead_letter (kind, source_id, name, reason, error, status,
      created_at, resolved_at)
    SELECT 'JOB', n::text, 'n', 'r', 'e', status, at, CASE WHEN status <> 'OPEN' THEN at END
    FROM (SELECT n, now() - n * interval '5 minutes' AS at,
      (ARRAY['OPEN', 'REQUEUED', 'DISCARDED'])[1 + n % 3]::evenkeel.dead_letter_status AS status
      FROM generate_series(1, 20000) AS n) AS rows;
    INSERT INTO evenkeel.background_job (tenant_id, type, payload, max_attempts)
    SELECT 't', 'j', '{}', 1 FROM generate_series(1, 2000);
    INSERT INTO evenkeel.background_effect (job_id, job_created_at, name, tenant_id, fence, started_at)
    SELECT n, now(), 'e', 't', 1, now() - n * interval '5 minutes' FROM generate_series(1, 20000) AS n;
    INSERT INTO evenkeel.background_job_unique_key
      (tenant_id, type, unique_key, job_id, replaced_job_id, kept_until)
    SELECT 't', 'a', n::text, n + 100000, 0, now() - n * interval '5 minutes' FROM generate_series(1, 20000) AS n;
    INSERT INTO evenkeel.background_outbox_event (event_id, name, data, status, settled_at)
    SELECT 'e' || n, 'n', '{}', (ARRAY['SENT', 'REFUSED'])[1 + n % 2]::evenkeel.outbox_status,
      now() - n * interval '5 minutes' FROM generate_series(1, 20000) AS n;
    INSERT INTO evenkeel.background_audit_entry (actor, action, subject_kind, subject_id, at)
    SELECT 'a', 'b', 'c', 'd', now() - n * interval '5 minutes' FROM generate_series(1, 20000) AS n;
    ANALYZE`);
});
afterAll(() => t.close());

interface PlanNode {
  readonly "Node Type": string;
  readonly "Relation Name"?: string;
  readonly Alias?: string;
  readonly "Index Name"?: string;
  readonly Plans?: readonly PlanNode[];
}

/** The plan over a backlog: nearly all rows are old enough, and a batch is a small part of them. */
async function explain(statement: string): Promise<PlanNode[]> {
  const { rows } = await t.database.pool.query<{ "QUERY PLAN": readonly { Plan: PlanNode }[] }>(
    `EXPLAIN (FORMAT JSON) ${statement}`,
    [2 * 86_400, 10],
  );
  const flatten = (node: PlanNode): PlanNode[] => [node, ...(node.Plans ?? []).flatMap(flatten)];
  return (rows[0]?.["QUERY PLAN"] ?? []).flatMap(({ Plan }) => flatten(Plan));
}

const expectedIndexes: Readonly<Record<string, string>> = {
  "windows.ENQUEUED": "background_dispatch_window_sent",
  windows: "background_dispatch_window_prunable",
  guards: "background_dispatch_guard_prunable",
  "runs.STALE": "background_function_run_stale",
  runs: "background_function_run_prunable",
  jobHistory: "background_job_history_prunable",
  deadLetters: "background_dead_letter_prunable",
  effects: "background_effect_prunable",
  uniqueKeys: "background_job_unique_key_prunable",
  outbox: "background_outbox_event_settled",
  audit: "background_audit_entry_recent",
};

// Of the limits there are no more than tenants, and an index would have to follow every claim.
const indexed = resolveRetention().filter(({ rule }) => rule.table !== "limits");

test.each(indexed.map((resolved) => [nameOf(resolved), resolved] as const))(
  "%s: the oldest are read from an index, whose order spares a sort, and deleted by address",
  async (name, { rule }) => {
    const index = expectedIndexes[name] ?? expectedIndexes[rule.table];
    for (const statement of [countStatement(rule), deleteStatement(rule)]) {
      const nodes = await explain(statement);
      expect(nodes.find(({ Alias }) => Alias === "candidate")).toMatchObject({
        "Index Name": index,
      });
      const types = nodes.map((node) => node["Node Type"]);
      expect(types).not.toContain("Seq Scan");
      expect(types).not.toContain("Sort");
    }
    const deletion = await explain(deleteStatement(rule));
    expect(deletion.map((node) => node["Node Type"])).toContain("Tid Scan");
  },
);

function nameOf({ rule }: ReturnType<typeof resolveRetention>[number]): string {
  return `${rule.table}.${rule.status}`;
}
