import { expect, test } from "vitest";

import { toSqlClient } from "../database/database.ts";
import { createLedger } from "../ledger.ts";
import {
  insertEffect,
  insertUniqueKey,
  insertGuard,
  insertHistory,
  insertLetter,
  insertNewest,
  insertOld,
  insertRun,
  insertWindow,
  readKeys,
} from "../testing/old-rows.ts";
import { setup } from "../testing/setup.ts";
import { claimWindow } from "../windows/window-claim.ts";
import type { WindowClaim } from "../windows/window.ts";
import { prune } from "./pruning.ts";
import { resolveRetention } from "./resolved-retention.ts";
import type { RetentionChanges } from "./retention-policy.ts";
import { retentionRules } from "./retention-rules.ts";

const hour = 1 / 24;

/** The shortest ages that are allowed. */
const shortest: RetentionChanges = {
  windows: { ENQUEUED: 2, INLINE_EMERGENCY: 2, MISSED: 2, SKIPPED_OVERLAP: 2 },
  guards: { TAKEN: 2 },
  runs: { SUCCEEDED: 2, FAILED: 2, CANCELLED: 2, SKIPPED_DUPLICATE: 2 },
  jobHistory: { SUCCEEDED: 0, DEAD: 0, CANCELLED: 0 },
  effects: { RECORDED: 0 },
  uniqueKeys: { RECORDED: 0 },
  limits: { MET: 2 },
  deadLetters: { REQUEUED: 2, DISCARDED: 2 },
  outbox: { SENT: 2, REFUSED: 2 },
  audit: { RECORDED: 0 },
};

function claimOf(dispatchKey: string, schedule = `s-${dispatchKey}`): WindowClaim {
  return {
    dispatchKey,
    schedule,
    scope: "global",
    windowStart: new Date(),
    windowSeconds: 60,
    lane: "stable",
    owner: "late",
    correlationId: "c",
    leaseMs: 30_000,
  };
}

test.each(resolveRetention().map(({ rule, days }) => [rule.table, rule.status, days] as const))(
  "%s %s stays for %i days and then goes, alone",
  async (table, status, days) => {
    await using t = await setup();
    for (const other of resolveRetention()) {
      const { table: itsTable, status: itsStatus } = other.rule;
      const age = Math.min(2.5, other.days - hour);
      await insertOld[itsTable](t.database.pool, itsStatus, age);
    }
    const young = await insertOld[table](t.database.pool, status, days - hour);
    const before = await readKeys(t.database.pool);
    const old = await insertOld[table](t.database.pool, status, days + hour);
    const newest = (await readKeys(t.database.pool)).filter(
      (key) => key !== old && !before.includes(key),
    );

    const report = await t.ledger.prune();
    expect(report).toMatchObject({ dryRun: false, deleted: 1, more: false });
    expect(report.rows.filter(({ deleted }) => deleted > 0)).toEqual([
      { table, status, days, deleted: 1, more: false },
    ]);
    const left = await readKeys(t.database.pool);
    expect(left).toContain(young);
    expect(left).toEqual([...before, ...newest].toSorted((a, b) => (a < b ? -1 : 1)));
  },
);

test("a limit that says something stays, however long ago a claim met it", async () => {
  await using t = await setup();
  await t.database.pool.query(
    `INSERT INTO evenkeel.background_job_limit (kind, subject, paused, paused_at, max_running, rate_limit, rate_period_ms, updated_at)
     SELECT kind::evenkeel.job_limit_kind, subject, paused, CASE WHEN paused THEN now() END, most, rate,
       CASE WHEN rate IS NOT NULL THEN 1000 END, now() - interval '1 year'
     FROM (VALUES ('TENANT', 'paused', true, NULL::int, NULL::int), ('TENANT', 'capped', false, 1, NULL),
       ('TENANT', 'rated', false, NULL, 1), ('EVERY_TENANT', '', false, 1, NULL), ('TYPE', 'a', false, 1, NULL)
     ) AS given (kind, subject, paused, most, rate)`,
  );
  expect(await t.ledger.prune()).toMatchObject({ deleted: 0 });
});

test("the attempts of a run go with it", async () => {
  await using t = await setup();
  await insertRun(t.database.pool, "SUCCEEDED", 31);
  await insertRun(t.database.pool, "SUCCEEDED", 29);
  await t.ledger.prune();
  const { rows } = await t.database.pool.query(
    `SELECT count(*)::int AS count FROM evenkeel.background_function_attempt`,
  );
  expect(rows).toEqual([{ count: 1 }]);
});

test("what is not settled stays for ever, and so does what it needs", async () => {
  await using t = await setup();
  const { pool } = t.database;
  const years = 3_650;
  for (const status of ["DISPATCHING", "ENQUEUE_FAILED"]) {
    const key = await insertWindow(pool, status, years);
    await insertNewest(pool, `s-${key}`);
    await insertGuard(pool, years, { dispatchKey: key });
    await insertRun(pool, "SUCCEEDED", years, { dispatchKey: key });
  }
  for (const [status, days] of [
    ["RUNNING", years],
    ["STALE", 1],
  ] as const) {
    await insertRun(pool, status, days);
    for (const windowStatus of ["ENQUEUED", "INLINE_EMERGENCY", "MISSED", "SKIPPED_OVERLAP"]) {
      const dispatchKey = await insertWindow(pool, windowStatus, years);
      await insertNewest(pool, `s-${dispatchKey}`);
      await insertRun(pool, status, days, { dispatchKey });
    }
    const dispatchKey = await insertGuard(pool, years);
    await insertRun(pool, status, days, { dispatchKey });
  }
  const letter = await insertWindow(pool, "ENQUEUED", years);
  await insertNewest(pool, `s-${letter}`);
  await insertLetter(pool, "OPEN", years, { kind: "DISPATCH", sourceId: letter });
  const runId = await insertRun(pool, "FAILED", years);
  await insertLetter(pool, "OPEN", years, { kind: "RUN", sourceId: runId });
  const id = await insertHistory(pool, "DEAD", years);
  await insertLetter(pool, "OPEN", years, { sourceId: id });
  await insertEffect(pool, years, id);
  const job = { tenantId: "t", type: "j", version: 1, payloadText: "{}", maxAttempts: 3 } as const;
  const jobs = await t.ledger.jobs.insert(undefined, [job, job]);
  for (const unsettled of jobs) {
    await insertEffect(pool, years, unsettled.id);
    await insertUniqueKey(pool, years, unsettled.id);
  }
  await t.ledger.jobs.claim({ lane: "stable", types: ["j"], limit: 1, leaseMs: 1, owner: "o" });
  await pool.query(
    `UPDATE evenkeel.background_job SET run_at = run_at - interval '10 years', created_at = run_at`,
  );
  await pool.query(
    `UPDATE evenkeel.background_effect AS effect SET job_created_at = job.created_at
     FROM evenkeel.background_job AS job WHERE job.id = effect.job_id`,
  );

  const before = await readKeys(pool);
  for (let call = 0; call < 3; call += 1) {
    expect(await t.ledger.prune({ policy: shortest, latenessMs: 86_400_000 })).toMatchObject({
      deleted: 0,
      more: false,
    });
  }
  expect(await readKeys(pool)).toEqual(before);
});

test("a run that was silent for as long as rows are kept keeps its window no longer, and goes after it", async () => {
  await using t = await setup();
  const { pool } = t.database;
  const dispatchKey = await insertWindow(pool, "ENQUEUED", 91);
  await insertNewest(pool, `s-${dispatchKey}`);
  const stale = await insertRun(pool, "STALE", 91, { dispatchKey });
  await insertGuard(pool, 91, { dispatchKey, runId: stale });
  for (const gone of ["windows", "guards", "runs"]) {
    const { rows } = await t.ledger.prune();
    expect(rows.filter(({ deleted }) => deleted > 0)).toMatchObject([{ table: gone, deleted: 1 }]);
  }
});

test("a window goes first, its guard in the call after, its runs in the one after that", async () => {
  await using t = await setup();
  const { pool } = t.database;
  const dispatchKey = await insertWindow(pool, "ENQUEUED", 100);
  const newest = await insertNewest(pool, `s-${dispatchKey}`);
  const runId = await insertRun(pool, "FAILED", 100, { dispatchKey });
  await insertGuard(pool, 100, { dispatchKey, runId });
  const left: string[][] = [];
  for (let call = 0; call < 4; call += 1) {
    await t.ledger.prune();
    left.push(await readKeys(pool));
  }
  const sorted = (...keys: string[]): string[] => keys.toSorted((a, b) => (a < b ? -1 : 1));
  expect(left).toEqual([
    sorted(dispatchKey, newest, runId),
    sorted(newest, runId),
    [newest],
    [newest],
  ]);
});

test("a dry run deletes nothing and says what the run after it deletes", async () => {
  await using t = await setup();
  const { pool } = t.database;
  for (const { table, status } of retentionRules) {
    for (let days = 10; days < 130; days += 20) await insertOld[table](pool, status, days);
  }
  for (let n = 0; n < 5; n += 1) {
    const dispatchKey = await insertWindow(pool, "ENQUEUED", 100);
    await insertNewest(pool, `s-${dispatchKey}`);
    const runId = await insertRun(pool, "SUCCEEDED", 100, { dispatchKey });
    await insertGuard(pool, 100, { dispatchKey, runId });
  }
  for (const limit of [3, 1_000, 1_000, 1_000, 1_000]) {
    const before = await readKeys(pool);
    const dry = await t.ledger.prune({ limit, dryRun: true });
    expect(dry.dryRun).toBe(true);
    expect(await readKeys(pool)).toEqual(before);
    const real = await t.ledger.prune({ limit });
    expect(real).toEqual({ ...dry, dryRun: false });
    expect(before.length - (await readKeys(pool)).length).toBe(real.deleted);
    expect(real.more).toBe(limit === 3);
  }
  expect(await t.ledger.prune({ dryRun: true })).toMatchObject({ deleted: 0 });
});

test("a call deletes a bounded batch, the oldest first, and says that there is more", async () => {
  await using t = await setup();
  for (let n = 0; n < 25; n += 1) await insertHistory(t.database.pool, "SUCCEEDED", 31 + n);
  const oldest = (await readKeys(t.database.pool)).map(Number).toSorted((a, b) => b - a);
  const batches = [];
  for (let call = 0; call < 3; call += 1) {
    const { deleted, more } = await t.ledger.prune({ limit: 10 });
    batches.push({ deleted, more });
    expect((await readKeys(t.database.pool)).map(Number).toSorted((a, b) => b - a)).toEqual(
      oldest.slice((call + 1) * 10),
    );
  }
  expect(batches).toEqual([
    { deleted: 10, more: true },
    { deleted: 10, more: true },
    { deleted: 5, more: false },
  ]);
});

test("settings below the floor are refused by name, all at once, and nothing is deleted", async () => {
  await using t = await setup();
  await insertHistory(t.database.pool, "SUCCEEDED", 100);
  const policy: RetentionChanges = {
    windows: { ENQUEUED: 1.9, MISSED: -1 },
    guards: { TAKEN: 1 },
    deadLetters: { DISCARDED: Number.NaN },
  };
  await expect(t.ledger.prune({ policy })).rejects.toMatchObject({
    code: "invalid_retention",
    message:
      "Invalid retention: guards.TAKEN is 1 days and must be at least 2: 24 hours of Inngest's memory, and the lateness; " +
      "windows.ENQUEUED is 1.9 days and must be at least 2: 24 hours of Inngest's memory, and the lateness; " +
      "windows.MISSED must be a number of days from 0 to 36500, or Infinity; " +
      "deadLetters.DISCARDED must be a number of days from 0 to 36500, or Infinity.",
  });
  const refused = { code: "invalid_retention" };
  // A floor moves with the lateness.
  await expect(t.ledger.prune({ policy: shortest, latenessMs: 86_400_001 })).rejects.toMatchObject(
    refused,
  );
  await expect(t.ledger.prune({ latenessMs: -1 })).rejects.toMatchObject(refused);
  await expect(t.ledger.prune({ limit: 0 })).rejects.toMatchObject(refused);
  await expect(t.ledger.prune({ policy: { windows: { ENQUEUED: 60 } } })).rejects.toThrow(
    "guards.TAKEN is 30 days and must be at least the 60 of windows.ENQUEUED, which it outlives",
  );
  const deadLetters = { DISCARDED: 90, OPEN: 10 };
  await expect(t.ledger.prune({ policy: { deadLetters } })).rejects.toThrow(
    "deadLetters.OPEN is not",
  );
  expect(await readKeys(t.database.pool)).toHaveLength(1);
  expect(await t.ledger.prune({ policy: shortest })).toMatchObject({ deleted: 1 });
});

test("Infinity keeps rows for good", async () => {
  await using t = await setup();
  await insertHistory(t.database.pool, "DEAD", 3_650);
  const report = await t.ledger.prune({ policy: { jobHistory: { DEAD: Infinity } } });
  expect(report.deleted).toBe(0);
  expect(report.rows.map(({ table, status }) => `${table}.${status}`)).not.toContain(
    "jobHistory.DEAD",
  );
});

test("a prune waits for no claim: what is claimed meanwhile stays", async () => {
  await using t = await setup();
  const { pool } = t.database;
  const claimed = await insertWindow(pool, "MISSED", 100);
  await insertNewest(pool, `s-${claimed}`);
  const free = await insertOld.windows(pool, "MISSED", 100);
  const client = await t.database.connect(1).connect();
  await client.query("BEGIN");
  const late = await claimWindow(toSqlClient(client), claimOf(claimed));
  expect(late.outcome).toBe("claimed");
  expect(await t.ledger.prune()).toMatchObject({ deleted: 1 });
  await client.query("COMMIT");
  client.release();
  expect(await t.ledger.windows.find(free)).toBeUndefined();
  expect(await t.ledger.prune()).toMatchObject({ deleted: 0 });
  expect(await t.ledger.windows.find(claimed)).toMatchObject({ status: "DISPATCHING" });
});

test("no claim waits for a prune that has not ended", async () => {
  await using t = await setup();
  const { pool } = t.database;
  for (const { table, status } of retentionRules) await insertOld[table](pool, status, 100);
  const young = await insertOld.windows(pool, "ENQUEUED", 1);
  const job = { tenantId: "t", type: "j", version: 1, payloadText: "{}", maxAttempts: 3 } as const;
  await t.ledger.jobs.insert(undefined, [job]);

  const client = await t.database.connect(1).connect();
  await client.query("BEGIN");
  const { deleted } = await prune(toSqlClient(client), { policy: shortest });
  expect(deleted).toBe(retentionRules.length);
  const impatient = t.database.connect(1);
  await impatient.query("SET lock_timeout = '20s'");
  const other = createLedger({ pool: impatient });
  expect(await other.windows.claim(claimOf("new"))).toMatchObject({ outcome: "claimed" });
  expect(await other.windows.claim(claimOf(young))).toMatchObject({ outcome: "duplicate" });
  const request = { lane: "stable", types: ["j"], limit: 5, leaseMs: 30_000, owner: "o" } as const;
  const { jobs } = await other.jobs.claim(request);
  expect(jobs).toHaveLength(1);
  await other.jobs.settle(jobs.map(({ id, fence }) => ({ id, fence, kind: "succeeded" })));
  await other.guards.take({ functionId: "f", dispatchKey: "new", continuation: 0, runId: "r" });
  await other.runs.begin({ runId: "r", functionId: "f", eventName: "e", owner: "o", attempt: 0 });
  // Another host prunes as well, and passes over what is taken.
  expect(await other.prune({ policy: shortest })).toMatchObject({ deleted: 1 });
  await client.query("COMMIT");
  client.release();
  await other.close();
});
