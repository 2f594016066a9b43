import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";

import { toSqlClient } from "../database/database.ts";
import { createLedger } from "../ledger.ts";
import { setup, type Setup } from "../testing/setup.ts";
import { passTime } from "../testing/unique-key-model.ts";
import type { InsertedJob, NewJob, Uniqueness } from "./job.ts";

let t: Setup;
beforeAll(async () => {
  t = await setup();
});
beforeEach(async () => {
  await t.database.pool.query(
    `TRUNCATE evenkeel.background_job, evenkeel.background_job_history, evenkeel.background_job_unique_key`,
  );
});
afterAll(() => t.close());

function newJob(uniqueKey: string, uniqueness?: Uniqueness): NewJob {
  const job = { tenantId: "t", type: "a", version: 1, payloadText: "{}", maxAttempts: 3 } as const;
  return { ...job, uniqueKey, ...(uniqueness === undefined ? {} : { uniqueness }) };
}

async function insert(...jobs: readonly NewJob[]): Promise<InsertedJob[]> {
  return t.ledger.jobs.insert(undefined, jobs);
}

const periodMs = 3_600_000;

test("of 40 hosts that ask at once for a key that is free again, one gets it", async () => {
  const hosts = Array.from({ length: 8 }, () => createLedger({ pool: t.database.connect(1) }));
  let last = "";
  for (let round = 0; round < 10; round += 1) {
    const inserted = await Promise.all(
      Array.from({ length: 40 }, (_, n) =>
        (hosts[n % 8] ?? t.ledger).jobs.insert(undefined, [newJob("k")]),
      ),
    );
    const flat = inserted.flat();
    expect(flat.filter(({ created }) => created)).toHaveLength(1);
    expect(new Set(flat.map(({ id }) => id)).size).toBe(1);
    expect(flat[0]?.id).not.toBe(last);
    last = flat[0]?.id ?? "";
    // It runs: the key is free.
    await t.database.pool.query(
      `UPDATE evenkeel.background_job SET state = 'RUNNING', lease_expires_at = 'infinity'`,
    );
  }
  for (const host of hosts) await host.close();
});

test("a key taken in a transaction that rolls back is free, and its former holder keeps it", async () => {
  const [first] = await insert(newJob("k"));
  await t.database.pool.query(
    `UPDATE evenkeel.background_job SET state = 'RUNNING', lease_expires_at = 'infinity'`,
  );
  const client = await t.database.pool.connect();
  await client.query("BEGIN");
  const [second] = await t.ledger.jobs.insert(toSqlClient(client), [newJob("k")]);
  expect(second).toMatchObject({ created: true });
  await client.query("ROLLBACK");
  client.release();
  await t.database.pool.query(`UPDATE evenkeel.background_job SET state = 'PENDING'`);
  expect(await insert(newJob("k"))).toEqual([{ id: first?.id, created: false }]);
});

/** Lets the job that waits die, and returns its letter's id. */
async function die(): Promise<string> {
  const request = { lane: "stable", types: ["a"], limit: 1, leaseMs: 60_000, owner: "o" } as const;
  const { jobs } = await t.ledger.jobs.claim(request);
  const error = { code: "x", message: "x" };
  await t.ledger.jobs.settle(
    jobs.map(({ id, fence }) => ({ id, fence, kind: "dead", reason: "terminal", error })),
  );
  const letters = await t.ledger.asOperator("ada").deadLetters.list({ status: "OPEN" });
  return letters[0]?.id ?? "";
}

async function redrive(id: string): Promise<string[]> {
  const job = { payload: "{}", version: 1, maxAttempts: 3 };
  return t.ledger.asOperator("ada").deadLetters.requeue([{ id, job }]);
}

test("a key whose job died and was requeued is held by the new job", async () => {
  for (const uniqueness of [undefined, { periodMs }, { states: ["PENDING"], periodMs }] as const) {
    await insert(newJob("k", uniqueness));
    const letter = await die();
    expect(await redrive(letter)).toEqual([letter]);
    const { rows } = await t.database.pool.query<{ id: string }>(
      `SELECT id::text FROM evenkeel.background_job`,
    );
    expect(await insert(newJob("k", uniqueness))).toEqual([{ id: rows[0]?.id, created: false }]);
    await t.database.pool.query(`TRUNCATE evenkeel.background_job`);
  }
});

test("a dead job is not requeued while another waits that took its key over", async () => {
  const uniqueness = { states: ["PENDING", "RUNNING"], periodMs } as const;
  await insert(newJob("k", uniqueness));
  const letter = await die();
  expect(await insert(newJob("k", uniqueness))).toMatchObject([{ created: true }]);
  expect(await redrive(letter)).toEqual([]);
  const second = await die();
  expect(await redrive(second)).toEqual([second]);
});

test("keys of all kinds and none go in one call, each with its result in its place", async () => {
  const once = { states: ["RUNNING", "SUCCEEDED"], periodMs } as const;
  const { uniqueKey: _none, ...plain } = newJob("");
  const inserted = await insert(
    newJob("a"),
    plain,
    newJob("b", once),
    // One key, whatever is asked of it.
    newJob("a", once),
    newJob("c"),
  );
  expect(inserted.map(({ created }) => created)).toEqual([true, true, true, false, true]);
  expect(inserted[3]?.id).toBe(inserted[0]?.id);
  const again = await insert(newJob("b"), newJob("c", once), newJob("a"), plain);
  expect(again.map(({ id }) => id).slice(0, 3)).toEqual(
    [2, 4, 0].map((place) => inserted[place]?.id),
  );
  expect(again.map(({ created }) => created)).toEqual([false, false, false, true]);
});

test("a job holds its key for its period, though the history has forgotten it, and its key no longer", async () => {
  const day = 86_400_000;
  const yearly = { states: ["SUCCEEDED"], periodMs: 365 * day } as const;
  const jobHistory = { SUCCEEDED: 0, DEAD: 0, CANCELLED: 0 };
  const policy = { jobHistory, uniqueKeys: { RECORDED: 0 } };
  const request = { lane: "stable", types: ["a"], limit: 10, leaseMs: 60_000, owner: "o" } as const;
  const inserted = await insert(newJob("kept", yearly), newJob("dead", yearly), newJob("plain"));
  const { jobs } = await t.ledger.jobs.claim(request);
  const error = { code: "x", message: "x" };
  await t.ledger.jobs.settle(
    jobs.map(({ id, fence }) =>
      id === inserted[1]?.id
        ? { id, fence, kind: "dead", reason: "terminal", error }
        : { id, fence, kind: "succeeded" },
    ),
  );
  const [letter] = await t.ledger.asOperator("ada").deadLetters.list();
  await t.ledger
    .asOperator("ada")
    .deadLetters.discard({ ids: [letter?.id ?? ""] }, { reason: "r" });
  const left = async (): Promise<unknown> => {
    const { rows } = await t.database.pool.query(
      `SELECT (SELECT count(*)::int FROM evenkeel.background_job_history) AS jobs, ARRAY(
         SELECT unique_key FROM evenkeel.background_job_unique_key ORDER BY 1) AS keys`,
    );
    return rows[0];
  };
  await passTime(t.database.pool, 364 * day);
  await t.ledger.prune({ policy });
  expect(await left()).toEqual({ jobs: 0, keys: ["dead", "kept"] });
  expect(await insert(newJob("kept", yearly))).toEqual([{ id: inserted[0]?.id, created: false }]);
  // What is held by those that succeeded is free after a death.
  expect(await insert(newJob("dead", yearly))).toMatchObject([{ created: true }]);
  await passTime(t.database.pool, 2 * day);
  await t.ledger.prune({ policy });
  expect(await left()).toEqual({ jobs: 0, keys: ["dead"] });
});

test("batches that share keys in any order, beside claims, settlements, sweeps and prunes, never deadlock", async () => {
  const hosts = Array.from({ length: 6 }, () => createLedger({ pool: t.database.connect(2) }));
  const keys = Array.from({ length: 60 }, (_, n) => `k-${n}`);
  const request = { lane: "stable", types: ["a"], limit: 20, leaseMs: 1, owner: "o" } as const;
  const modes = [undefined, { onConflict: "replace" }, { states: ["RUNNING"] }] as const;
  const policy = { jobHistory: { SUCCEEDED: 0 }, uniqueKeys: { RECORDED: 0 } };
  const end = new AbortController();
  const workers = hosts.slice(0, 2).map(async (host) => {
    const { jobs } = host;
    while (!end.signal.aborted) {
      const claimed = (await jobs.claim(request)).jobs;
      await jobs.start(claimed);
      await jobs.heartbeat(claimed, 1);
      await jobs.settle(
        claimed.map(({ id, fence }, n) =>
          n % 3 === 0
            ? { id, fence, kind: "retry", delayMs: 0, error: { code: "x", message: "x" } }
            : { id, fence, kind: "succeeded" },
        ),
      );
      await host.prune({ policy });
    }
  });
  await Promise.all(
    hosts.slice(2).map(async ({ jobs }, host) => {
      for (let round = 0; round < 25; round += 1) {
        const turned = [...keys.slice(7 * round + host), ...keys.slice(0, 7 * round + host)];
        const order = (round + host) % 2 === 0 ? turned : turned.toReversed();
        const mode = modes[(round + host) % 3];
        const inserted = await jobs.insert(
          undefined,
          order.map((key) => newJob(key, mode)),
        );
        expect(inserted).toHaveLength(order.length);
      }
    }),
  );
  end.abort();
  await Promise.all(workers);
  for (const host of hosts) await host.close();
});
