import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import { afterAll, beforeAll, expect, test } from "vitest";

import { explainStatement, rowsRead } from "../testing/plan.ts";
import { readStatement } from "./handshake.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
  // Four hours with a window a second, as nudges make them; each has its run.
  await database.pool.query(`
    INSERT INTO evenkeel.background_dispatch_window (dispatch_key, schedule, scope, window_start,
      window_seconds, status, fence, owner, correlation_id, enqueued_at)
    SELECT 'k' || n, 's', 'global', at, 1, 'ENQUEUED', gen_random_uuid(), 'o', 'c', at
    FROM (SELECT n, now() - n * interval '1 second' AS at FROM generate_series(1, 15000) AS n) AS rows;
    INSERT INTO evenkeel.background_function_run (run_id, function_id, dispatch_key, event_name, status,
      owner, started_at, heartbeat_at, finished_at)
    SELECT 'r' || n, 'f', 'k' || n, 'background/process.requested', 'SUCCEEDED', 'o', at, at, at
    FROM (SELECT n, now() - n * interval '1 second' AS at FROM generate_series(1, 15000) AS n) AS rows;
    INSERT INTO evenkeel.background_handshake (lane, sent_key) VALUES ('stable', 'k1');
    ANALYZE`);
});
afterAll(() => database.drop());

test("a reading looks at twenty windows and their runs, however many there are", async () => {
  const nodes = await explainStatement(database, readStatement, ["stable"]);
  expect(nodes.length).toBeGreaterThan(3);
  const scanned = nodes.filter((node) => node["Relation Name"] !== undefined);
  expect(scanned.map((node) => node["Relation Name"])).toContain("background_function_run");
  for (const node of scanned) expect(rowsRead(node)).toBeLessThanOrEqual(20);
});
