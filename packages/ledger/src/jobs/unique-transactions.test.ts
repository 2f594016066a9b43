import { randomUUID } from "node:crypto";

import type { PoolClient } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";

import { toSqlClient } from "../database/database.ts";
import { createLedger } from "../ledger.ts";
import { claimRequest, newJob } from "../testing/job-queue.ts";
import { setup, type Setup } from "../testing/setup.ts";
import { createAvailability } from "./claim/availability.ts";
import { createClaim } from "./claim/claim.ts";
import { ClaimWatermarks } from "./claim/watermarks.ts";
import type { InsertedJob, NewJob, Uniqueness } from "./job.ts";

let t: Setup;
beforeAll(async () => {
  t = await setup();
});
afterAll(() => t.close());

async function begin(mode = ""): Promise<PoolClient> {
  const client = await t.database.pool.connect();
  await client.query(`BEGIN ${mode}`);
  // Whatever would wait for another transaction fails instead.
  await client.query("SET LOCAL lock_timeout = '2s'");
  return client;
}

async function end(client: PoolClient, how: "COMMIT" | "ROLLBACK" = "COMMIT"): Promise<void> {
  await client.query(how);
  client.release();
}

async function enqueue(
  client: PoolClient | undefined,
  ...jobs: readonly NewJob[]
): Promise<InsertedJob[]> {
  return t.ledger.jobs.insert(client && toSqlClient(client), jobs);
}

function keyed(type: string, uniqueness?: Uniqueness, change: Partial<NewJob> = {}): NewJob {
  return newJob(type, { uniqueKey: "k", ...(uniqueness && { uniqueness }), ...change });
}

async function claimIds(type: string): Promise<string[]> {
  const { jobs } = await t.claim([type], 10);
  return jobs.map(({ id }) => id);
}

test("a change that was made beside an enqueue which met a waiting job is seen by that job", async () => {
  const { pool } = t.database;
  const type = randomUUID();
  await pool.query(`CREATE TABLE document (text text); INSERT INTO document VALUES ('old')`);
  const processed: string[] = [];
  const work = async (): Promise<void> => {
    const { jobs } = await t.claim([type], 10);
    for (const job of jobs) {
      const { rows } = await pool.query<{ text: string }>(`SELECT text FROM document`);
      processed.push(rows[0]?.text ?? "");
      await t.ledger.jobs.settle([{ ...job, kind: "succeeded" }]);
    }
  };
  const [holder] = await enqueue(undefined, keyed(type));
  const client = await begin();
  await client.query(`UPDATE document SET text = 'new'`);
  expect(await enqueue(client, keyed(type))).toEqual([{ id: holder?.id, created: false }]);
  await work();
  await end(client);
  await work();
  expect(processed.at(-1)).toBe("new");
});

test("a job that runs admits one that waits, which holds the key while the other retries", async () => {
  const type = randomUUID();
  const [first] = await enqueue(undefined, keyed(type));
  const held = await t.claimFirst(type);
  const [second, third] = [
    ...(await enqueue(undefined, keyed(type))),
    ...(await enqueue(undefined, keyed(type))),
  ];
  expect([second?.created, third]).toEqual([true, { id: second?.id, created: false }]);
  const error = { code: "x", message: "x" };
  await t.ledger.jobs.settle([{ ...held, kind: "retry", delayMs: 0, error }]);
  expect(await enqueue(undefined, keyed(type))).toEqual([{ id: second?.id, created: false }]);
  expect(new Set(await claimIds(type))).toEqual(new Set([first?.id, second?.id]));
});

test("a job that waits for nothing but its death, as its worker died once too often, holds no key", async () => {
  const modes = [undefined, { onConflict: "replace" }, { states: ["PENDING"] }] as const;
  const limits = [{ maxAttempts: 1 }, { maxCrashes: 1 }] as const;
  for (const [uniqueness, limit] of modes.flatMap((mode) =>
    limits.map((each) => [mode, each] as const),
  )) {
    const type = randomUUID();
    const once = keyed(type, uniqueness, limit);
    const [first] = await enqueue(undefined, once);
    await t.claimFirst(type);
    await t.moveTime(type, "lease_expires_at");
    // Another host, which has no handler for it, makes it available.
    const availability = createAvailability(toSqlClient(t.database.pool), { lower: () => {} });
    await availability.makeAvailable({ types: ["another"] });
    const [second] = await enqueue(undefined, once);
    expect(second?.created).toBe(true);
    const { jobs } = await t.ledger.jobs.claim(claimRequest([type], 10));
    const attempts = new Map(jobs.map(({ id, attempt }) => [id, attempt]));
    expect(attempts).toEqual(
      new Map([
        [first?.id, 2],
        [second?.id, 1],
      ]),
    );
  }
});

test("a job that runs keeps others out of its key where they ask so", async () => {
  const type = randomUUID();
  const exclusive = { states: ["RUNNING"] } as const;
  const [first] = await enqueue(undefined, keyed(type, exclusive));
  const held = await t.claimFirst(type);
  expect(await enqueue(undefined, keyed(type, exclusive))).toEqual([
    { id: first?.id, created: false },
  ]);
  await t.ledger.jobs.settle([{ ...held, kind: "succeeded" }]);
  expect(await enqueue(undefined, keyed(type, exclusive))).toMatchObject([{ created: true }]);
});

test("transactions that meet one waiting job do not wait for each other, and nobody claims it until all ended", async () => {
  const type = randomUUID();
  const [holder] = await enqueue(undefined, keyed(type));
  const clients = [await begin(), await begin(), await begin()];
  for (const client of clients) {
    expect(await enqueue(client, keyed(type))).toEqual([{ id: holder?.id, created: false }]);
  }
  const [one, two, three] = clients;
  expect(await claimIds(type)).toEqual([]);
  if (one) await end(one);
  expect(await claimIds(type)).toEqual([]);
  if (two) await end(two, "ROLLBACK");
  expect(await claimIds(type)).toEqual([]);
  if (three) await end(three);
  expect(await claimIds(type)).toEqual([holder?.id]);
});

test("what makes jobs available, or sets them aside, passes those that a transaction met", async () => {
  const type = randomUUID();
  const availability = createAvailability(toSqlClient(t.database.pool), { lower: () => {} });
  const [holder] = await enqueue(undefined, keyed(type, undefined, { delayMs: 60_000 }));
  const client = await begin();
  await enqueue(client, keyed(type));
  await t.moveTime(type, "run_at");
  await availability.makeAvailable({ types: [type] });
  const state = async (): Promise<unknown> =>
    (await t.rowsOf<{ state: string }>("background_job", type))[0]?.state;
  expect(await state()).toBe("SCHEDULED");
  await end(client);
  await availability.makeAvailable({ types: [type] });
  expect(await state()).toBe("PENDING");
  const later = await begin();
  await enqueue(later, keyed(type, { onConflict: "replace" }));
  // No host has a handler for it.
  await availability.setAside([]);
  expect(await state()).toBe("PENDING");
  await end(later);
  expect(await claimIds(type)).toEqual([holder?.id]);
});

test("an enqueue that meets a job in the moment of its claim asks again, and costs the claim no lease", async () => {
  const type = randomUUID();
  const [holder] = await enqueue(undefined, keyed(type));
  const claiming = await begin();
  const none = {
    keepUp: async () => false,
    makeAvailable: async () => false,
    setAside: async () => false,
  };
  const claim = createClaim(toSqlClient(claiming), new ClaimWatermarks(), none);
  const [held] = (await claim(claimRequest([type], 1))).jobs;
  if (held === undefined) throw new Error("There is a job to claim.");
  const client = await begin();
  const asked = enqueue(client, keyed(type));
  await waitForLock();
  await end(claiming);
  const [admitted] = await asked;
  expect(admitted?.created).toBe(true);
  expect(admitted?.id).not.toBe(holder?.id);
  // The transaction that met it is open still.
  const own = createLedger({ pool: t.database.connect(1), statementTimeoutMs: 5_000 });
  expect(await own.jobs.heartbeat([held], 60_000)).toEqual(new Set([held.id]));
  expect(await own.jobs.start([held])).toEqual(new Set([held.id]));
  await own.close();
  await end(client);
  expect(await t.ledger.jobs.settle([{ ...held, kind: "succeeded" }])).toEqual(new Set([held.id]));
});

/** Waits until another connection waits for a lock. */
async function waitForLock(): Promise<void> {
  for (;;) {
    const { rows } = await t.database.pool.query(
      `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    );
    if (rows.length > 0) return;
  }
}

test("the take-over of a delegated job waits for the transaction that met it, and sees what it changed", async () => {
  const type = randomUUID();
  await enqueue(undefined, keyed(type));
  const held = await t.claimFirst(type);
  await t.ledger.jobs.settle([{ ...held, kind: "snooze", delayMs: 60_000 }]);
  const client = await begin();
  await enqueue(client, keyed(type, { onConflict: "keep" }));
  const { lane, leaseMs, owner } = claimRequest([type], 1);
  const request = { id: held.id, fence: held.fence, lane, leaseMs, owner, types: [type] };
  const takeOver = t.ledger.jobs.claimById(request);
  await waitForLock();
  await end(client);
  expect(await takeOver).toMatchObject({ id: held.id });
});

test("a repeatable-read transaction meets the job as it is, or is told to begin again", async () => {
  const type = randomUUID();
  const [holder] = await enqueue(undefined, keyed(type));
  const first = await begin("ISOLATION LEVEL REPEATABLE READ");
  expect(await enqueue(first, keyed(type))).toEqual([{ id: holder?.id, created: false }]);
  expect(await claimIds(type)).toEqual([]);
  await end(first);
  const second = await begin("ISOLATION LEVEL REPEATABLE READ");
  await second.query("SELECT count(*) FROM evenkeel.background_job");
  expect(await claimIds(type)).toEqual([holder?.id]);
  await expect(enqueue(second, keyed(type))).rejects.toMatchObject({ code: "40001" });
  await end(second, "ROLLBACK");
  expect(await enqueue(undefined, keyed(type))).toMatchObject([{ created: true }]);
});

test("a job that waits gets all of one that replaces it, and begins anew under its id", async () => {
  const type = randomUUID();
  const replace = { onConflict: "replace" } as const;
  const [holder] = await enqueue(undefined, keyed(type));
  const held = await t.claimFirst(type);
  await t.ledger.jobs.effects.begin(held, "mail", true);
  await t.ledger.jobs.effects.finish(held, "mail", "sent");
  const error = { code: "x", message: "x" };
  await t.ledger.jobs.settle([{ ...held, kind: "retry", delayMs: 60_000, error }]);
  const change = {
    version: 2,
    payloadText: '{"n":2}',
    priority: 3,
    maxAttempts: 7,
    correlationId: "c",
  };
  const expected = { id: holder?.id, created: false, replaced: true };
  expect(await enqueue(undefined, keyed(type, replace, change))).toEqual([expected]);
  const again = await t.claimFirst(type);
  expect(again).toMatchObject({
    id: holder?.id,
    version: 2,
    payload: { n: 2 },
    priority: 3,
    attempt: 1,
    maxAttempts: 7,
    correlationId: "c",
    errors: [],
  });
  // The mail of the first payload is not the mail of the second.
  const { rows } = await t.database.pool.query(
    `SELECT FROM evenkeel.background_effect WHERE job_id = $1`,
    [holder?.id],
  );
  expect(rows).toEqual([]);
  // It runs now, and is not touched.
  expect(await enqueue(undefined, keyed(type, replace))).toMatchObject([{ created: true }]);
});

test("of twins in a batch the last that replaces is stored, and each is told what became of it", async () => {
  const type = randomUUID();
  const replace = { onConflict: "replace" } as const;
  const payload = (n: number): Partial<NewJob> => ({ payloadText: `{"n":${n}}` });
  const batch = [
    keyed(type, undefined, payload(1)),
    keyed(type, replace, payload(2)),
    keyed(type, replace, payload(3)),
    keyed(type, undefined, payload(4)),
  ];
  const inserted = await enqueue(undefined, ...batch);
  const id = inserted[0]?.id;
  expect(inserted).toEqual([
    { id, created: true },
    { id, created: false, replaced: true },
    { id, created: false, replaced: true },
    { id, created: false },
  ]);
  expect(await t.claimFirst(type)).toMatchObject({ payload: { n: 3 } });
});

test("a debounced job is put off with each enqueue, and no longer than its maximum since the first", async () => {
  const type = randomUUID();
  const debounced = (n: number): NewJob =>
    keyed(
      type,
      { onConflict: "replace", maxDelayMs: 3_600_000 },
      { delayMs: 1_800_000, payloadText: `{"n":${n}}` },
    );
  const [first] = await enqueue(undefined, debounced(1));
  const minutes: number[] = [];
  for (const n of [2, 3, 4, 5]) {
    await t.database.pool.query(
      `UPDATE evenkeel.background_job SET created_at = created_at - interval '20 minutes' WHERE type = $1`,
      [type],
    );
    expect(await enqueue(undefined, debounced(n))).toEqual([
      { id: first?.id, created: false, replaced: true },
    ]);
    const { rows } = await t.database.pool.query<{ minutes: number }>(
      `SELECT round(extract(epoch FROM run_at - clock_timestamp()) / 60)::int AS minutes
       FROM evenkeel.background_job WHERE type = $1`,
      [type],
    );
    minutes.push(rows[0]?.minutes ?? -1);
  }
  expect(minutes).toEqual([30, 20, 0, 0]);
  expect(await t.claimFirst(type)).toMatchObject({ payload: { n: 5 } });
});
