import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import { afterAll, beforeAll, expect, test } from "vitest";

import { explainStatement, rowsRead } from "../testing/plan.ts";
import { heartbeatStatement, standingStatement } from "./lease.ts";
import { progressStatement } from "./progress.ts";
import { settleStatement, succeedStatement } from "./settlement.ts";

const held = 4_000;

const claims = Array.from({ length: held }, (_, n) => ({ id: n + 1, fence: 1 }));
const mixed = claims.map((claim) => ({
  ...claim,
  kind: claim.id % 2 === 0 ? "succeeded" : "retry",
  delay_ms: 1,
}));
const progress = claims.map((claim) => ({ ...claim, done: 1, total: 2 }));
const ids = `{${claims.map(({ id }) => id).join(",")}}`;
const fences = `{${claims.map(({ fence }) => fence).join(",")}}`;

const statements = [
  { what: "successes", statement: succeedStatement, values: [ids, fences, null] },
  { what: "a mixed batch", statement: settleStatement, values: [JSON.stringify(mixed)] },
  { what: "a heartbeat", statement: heartbeatStatement, values: [JSON.stringify(claims), 30_000] },
  { what: "a look at claims", statement: standingStatement, values: [JSON.stringify(claims)] },
  { what: "progress", statement: progressStatement, values: [JSON.stringify(progress)] },
];

/** When the statistics are from: of each moment the planner believes something else. */
const moments = ["never", "before", "between", "after"] as const;
const databases = new Map<(typeof moments)[number], TestDatabase>();

beforeAll(async () => {
  for (const moment of moments) {
    const database = await createTestDatabase();
    databases.set(moment, database);
    const query = (sql: string): Promise<unknown> => database.pool.query(sql);
    await query(`ALTER TABLE evenkeel.background_job SET (autovacuum_enabled = false)`);
    if (moment === "before") await query(`VACUUM ANALYZE evenkeel.background_job`);
    await query(`INSERT INTO evenkeel.background_job (tenant_id, type, payload, max_attempts)
      SELECT 't' || n % 50, 'a', '{}', 3 FROM generate_series(1, 20000) AS n`);
    if (moment === "between") await query(`VACUUM ANALYZE evenkeel.background_job`);
    await query(`UPDATE evenkeel.background_job SET state = 'RUNNING', fence = 1, owner = 'o',
      lease_expires_at = now() + interval '1 hour' WHERE id <= 8000`);
    if (moment === "after") await query(`VACUUM ANALYZE evenkeel.background_job`);
  }
});
afterAll(() => Promise.all([...databases.values()].map((database) => database.drop())));

test.each(moments.flatMap((moment) => statements.map((each) => ({ moment, ...each }))))(
  "$what finds its jobs by id, and looks at each once, with statistics from $moment",
  async ({ moment, statement, values }) => {
    const database = databases.get(moment);
    if (database === undefined) throw new Error("No such database.");
    const nodes = await explainStatement(database, statement, values);
    const indexes = new Set(nodes.flatMap((node) => node["Index Name"] ?? []));
    // How a job ended is looked up where it is no longer in the queue.
    indexes.delete("background_job_history_pkey");
    expect(indexes).toEqual(new Set(["background_job_pkey"]));
    const wasteful = nodes.filter((node) => rowsRead(node) > 3 * held);
    expect(wasteful.map((node) => [node["Node Type"], rowsRead(node)])).toEqual([]);
  },
);
