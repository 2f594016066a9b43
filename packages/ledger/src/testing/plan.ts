import type { TestDatabase } from "@evenkeel/test-postgres/testing";

/** A node of a plan, as `EXPLAIN (FORMAT JSON)` has it. */
export interface PlanNode {
  readonly "Node Type": string;
  readonly "Relation Name"?: string;
  readonly "Index Name"?: string;
  readonly "Actual Rows": number;
  readonly "Actual Loops": number;
  readonly "Shared Hit Blocks": number;
  readonly "Rows Removed by Filter"?: number;
  readonly "Rows Removed by Join Filter"?: number;
  readonly Plans?: readonly PlanNode[];
}

/**
 * All nodes of the plan of a statement that is run, and rolled back.
 *
 * @param tenantId It is run behind row-level security, as a tenant's statements are.
 */
export async function explainStatement(
  database: TestDatabase,
  statement: string,
  values: readonly unknown[],
  tenantId?: string,
): Promise<readonly PlanNode[]> {
  const client = await database.pool.connect();
  try {
    await client.query("BEGIN");
    if (tenantId !== undefined) {
      await client.query(
        `SELECT set_config('role', 'evenkeel_tenant', true), set_config('evenkeel.tenant_id', $1, true)`,
        [tenantId],
      );
    }
    const { rows } = await client.query<{ "QUERY PLAN": readonly { Plan: PlanNode }[] }>(
      `EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) ${statement}`,
      [...values],
    );
    await client.query("ROLLBACK");
    const flatten = (node: PlanNode): PlanNode[] => [node, ...(node.Plans ?? []).flatMap(flatten)];
    return rows[0]?.["QUERY PLAN"].flatMap(({ Plan }) => flatten(Plan)) ?? [];
  } finally {
    client.release();
  }
}

/** How many rows a node looked at. */
export function rowsRead(node: PlanNode): number {
  const removed =
    (node["Rows Removed by Filter"] ?? 0) + (node["Rows Removed by Join Filter"] ?? 0);
  return (node["Actual Rows"] + removed) * node["Actual Loops"];
}
