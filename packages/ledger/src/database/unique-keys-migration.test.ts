import { silentLogger } from "@evenkeel/core";
import { createTestDatabase } from "@evenkeel/test-postgres/testing";
import { expect, test } from "vitest";

import { migrations } from "../generated/migrations.ts";
import { createLedger } from "../ledger.ts";
import { migrate } from "./migrate.ts";

test("keys that stood in two places are held by one job each, in one", async () => {
  await using database = await createTestDatabase({ migrated: false });
  const { pool } = database;
  const place = migrations.findIndex(({ name }) => name.endsWith("_unique_keys"));
  await migrate(pool, silentLogger, migrations.slice(0, place));
  await pool.query(`
    INSERT INTO evenkeel.background_job
      (id, tenant_id, type, payload, max_attempts, state, lease_expires_at, unique_key)
    VALUES
      (1, 't', 'a', '{}', 1, 'PENDING', NULL, 'unsettled'),
      (2, 't', 'a', '{}', 1, 'RUNNING', 'infinity', 'running'),
      (3, 't', 'a', '{}', 1, 'PENDING', NULL, NULL), -- lasting
      (4, 't', 'a', '{}', 1, 'RUNNING', 'infinity', NULL), -- both, of which the other waits
      (5, 't', 'a', '{}', 1, 'PENDING', NULL, 'both'),
      (6, 't', 'a', '{}', 1, 'PENDING', NULL, NULL);
    INSERT INTO evenkeel.background_job_history
      (id, tenant_id, type, version, payload, outcome, run_at, attempt, errors, created_at)
    VALUES (7, 't', 'a', 1, '{}', 'SUCCEEDED', now(), 1, '[]', now());
    INSERT INTO evenkeel.background_job_unique_key (tenant_id, type, unique_key, job_id, replaced_job_id)
    VALUES ('t', 'a', 'lasting', 3, 0), ('t', 'a', 'both', 4, 0), ('t', 'a', 'ended', 7, 0);
    SELECT setval('evenkeel.background_job_id_seq', 10)`);
  await migrate(pool, silentLogger);
  const ledger = createLedger({ pool });
  const job = { tenantId: "t", type: "a", version: 1, payloadText: "{}", maxAttempts: 1 } as const;
  const daily = { states: ["SUCCEEDED"], periodMs: 86_400_000 } as const;
  const inserted = await ledger.jobs.insert(undefined, [
    { ...job, uniqueKey: "unsettled" },
    { ...job, uniqueKey: "running", uniqueness: { states: ["RUNNING"] } },
    { ...job, uniqueKey: "lasting" },
    { ...job, uniqueKey: "both" },
    { ...job, uniqueKey: "ended", uniqueness: daily },
    job,
  ]);
  expect(inserted.slice(0, 5).map(({ id }) => Number(id))).toEqual([1, 2, 3, 5, 7]);
  expect(inserted.map(({ created }) => created)).toEqual([false, false, false, false, false, true]);
  const { rows } = await pool.query(
    `SELECT unique_key FROM evenkeel.background_job WHERE id <= 6 ORDER BY id`,
  );
  expect(rows.map(({ unique_key }) => unique_key)).toEqual([
    "unsettled",
    "running",
    "lasting",
    "both",
    "both",
    null,
  ]);
  await ledger.close();
});
