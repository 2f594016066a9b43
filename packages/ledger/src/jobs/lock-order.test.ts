import { randomUUID } from "node:crypto";

import type { PoolClient } from "pg";
import { expect, test } from "vitest";

import { toSqlClient, type SqlClient } from "../database/database.ts";
import { newJob } from "../testing/job-queue.ts";
import { setup, type Setup } from "../testing/setup.ts";
import { changeJobs } from "./changes/job-changes.ts";
import type { NewJob } from "./job.ts";

const replace = { uniqueness: { onConflict: "replace" } } as const;

async function begin({ database }: Setup): Promise<PoolClient> {
  const client = await database.pool.connect();
  await client.query("BEGIN");
  return client;
}

async function commit(client: PoolClient): Promise<void> {
  await client.query("COMMIT");
  client.release();
}

/** Commits when the last statement has ended. */
async function andCommit<Result>(client: PoolClient, last: Promise<Result>): Promise<Result> {
  try {
    return await last;
  } finally {
    await commit(client);
  }
}

/** Waits until so many sessions wait for a lock, or until that has ended which might be one of them. */
async function untilBlocked(
  { database }: Setup,
  sessions: number,
  last?: Promise<unknown>,
): Promise<void> {
  let hasEnded = false;
  const end = (): void => void (hasEnded = true);
  last?.then(end, end);
  for (;;) {
    const { rows } = await database.pool.query(
      `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    );
    if (rows.length >= sessions || hasEnded) return;
  }
}

/*
 * A lock and the update under it are two steps, and the second finds the row by the statement's snapshot. Where the row
 * changed in between, that is an earlier version, and there another may be queueing.
 */
test("whoever reschedules a job and has locked it waits for no queue at an earlier version of it", async () => {
  await using t = await setup();
  const keyed: NewJob = newJob(randomUUID(), { uniqueKey: "k" });
  const [job] = await t.ledger.jobs.insert(undefined, [keyed]);
  const id = job?.id ?? "";
  const { jobs } = t.ledger.asOperator("ada");
  // It met the job, which stays until it ends.
  const enqueuing = await begin(t);
  await t.ledger.jobs.insert(toSqlClient(enqueuing), [keyed]);
  const changing = await begin(t);
  await changeJobs(changing, "t", "product").reschedule(id, { delayMs: 1_000 });
  // First in the queue at the job's first version, for the lock of `changing`.
  const rescheduled = jobs.reschedule(id, { delayMs: 2_000 });
  await untilBlocked(t, 1);
  // Behind it, for the lock of `enqueuing`.
  const cancelled = jobs.cancel(id);
  await untilBlocked(t, 2);
  // The rescheduling locks the second version, and the cancellation is first in the queue at the first.
  await commit(changing);
  // For the lock of the rescheduling.
  const last = t.ledger.jobs.insert(toSqlClient(enqueuing), [{ ...keyed, ...replace }]);
  const replaced = andCommit(enqueuing, last);
  const outcomes = await Promise.allSettled([rescheduled, cancelled, replaced]);
  expect(outcomes).toMatchObject([
    { status: "fulfilled" },
    { status: "fulfilled", value: { cancelled: true, id } },
    { status: "fulfilled", value: [{ id, created: false, replaced: true }] },
  ]);
});

test("an enqueue that asks again in its transaction waits for nobody who waits for its key", async () => {
  await using t = await setup();
  const { jobs } = t.ledger;
  const type = randomUUID();
  const [k, l] = ["k", "l"].map((uniqueKey) => newJob(type, { uniqueKey })) as [NewJob, NewJob];
  await jobs.insert(undefined, [k]);
  const ended = await t.claimFirst(type);
  await jobs.settle([{ ...ended, kind: "succeeded" }]);
  const first = await begin(t);
  const [heir] = await jobs.insert(toSqlClient(first), [k]);
  const [other] = await jobs.insert(undefined, [l]);
  // It waits for the key, finds that another job has it by now, and asks again when it is told to.
  const second = await begin(t);
  const [asksAgain, mayAsk] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let asked = 0;
  const sql: SqlClient = {
    query: async (text, values) => {
      asked += 1;
      if (asked === 2) {
        asksAgain.resolve();
        await mayAsk.promise;
      }
      return toSqlClient(second).query(text, values);
    },
  };
  const replaced = andCommit(second, jobs.insert(sql, [{ ...k, ...replace }]));
  await untilBlocked(t, 1);
  // Both keys: the first it sees free, and waits for; the job of the other it replaces.
  const taking = jobs.insert(undefined, [k, { ...l, ...replace }]);
  await untilBlocked(t, 2);
  await commit(first);
  await asksAgain.promise;
  // The first key's job is another's by now. The other key's job may be locked.
  const replacing = jobs.insert(undefined, [
    { ...k, ...replace },
    { ...l, ...replace },
  ]);
  await untilBlocked(t, 2, replacing);
  mayAsk.resolve();
  const outcomes = await Promise.allSettled([replaced, taking, replacing]);
  const [heirReplaced, otherReplaced] = [heir, other].map((job) => ({
    id: job?.id,
    created: false,
    replaced: true,
  }));
  expect(outcomes).toEqual([
    { status: "fulfilled", value: [heirReplaced] },
    { status: "fulfilled", value: [{ id: heir?.id, created: false }, otherReplaced] },
    { status: "fulfilled", value: [heirReplaced, otherReplaced] },
  ]);
  expect(asked).toBe(2);
});

test("a statement that Postgres ends to resolve a deadlock is repeated, but for one in a caller's transaction", async () => {
  await using t = await setup();
  const job = newJob(randomUUID());
  await t.database.pool.query(`
    CREATE SEQUENCE tries;
    CREATE FUNCTION resolve_deadlock() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      IF nextval('tries') % 2 = 1 THEN RAISE 'deadlock detected' USING ERRCODE = '40P01'; END IF;
      RETURN NULL;
    END $$;
    CREATE TRIGGER resolve_deadlock BEFORE INSERT ON evenkeel.background_job
      FOR EACH STATEMENT EXECUTE FUNCTION resolve_deadlock()`);
  const [stored] = await t.ledger.jobs.insert(undefined, [job]);
  expect(stored?.created).toBe(true);
  const tx = await begin(t);
  const refused = t.ledger.jobs.insert(toSqlClient(tx), [job]);
  await expect(refused).rejects.toMatchObject({ code: "40P01" });
  await tx.query("ROLLBACK");
  tx.release();
  expect(await t.rowsOf("background_job", job.type)).toHaveLength(1);
});
