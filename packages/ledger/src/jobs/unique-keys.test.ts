import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";

import { toSqlClient } from "../database/database.ts";
import { createLedger, type Ledger } from "../ledger.ts";
import type { InsertedJob, JobStatus, NewJob, Settlement, Uniqueness } from "./job.ts";

let database: TestDatabase;
let ledger: Ledger;
beforeAll(async () => {
  database = await createTestDatabase();
  ledger = createLedger({ pool: database.pool });
});
beforeEach(async () => {
  await database.pool.query(
    `TRUNCATE evenkeel.background_job, evenkeel.background_job_history, evenkeel.background_job_unique_key`,
  );
});
afterAll(async () => {
  await ledger.close();
  await database.drop();
});

function newJob(uniqueKey: string, uniqueness?: Uniqueness): NewJob {
  const job = { tenantId: "t", type: "a", version: 1, payloadText: "{}", maxAttempts: 3 } as const;
  return { ...job, uniqueKey, ...(uniqueness === undefined ? {} : { uniqueness }) };
}

async function insert(...jobs: readonly NewJob[]): Promise<InsertedJob[]> {
  return ledger.jobs.insert(undefined, jobs);
}

const periodMs = 3_600_000;

/** Lets so much time pass for the keys. */
async function pass(byMs: number): Promise<void> {
  await database.pool.query(
    `UPDATE evenkeel.background_job_unique_key
     SET enqueued_at = enqueued_at - $1::int * interval '1 millisecond'`,
    [byMs],
  );
}

interface Holder {
  id: string;
  state: JobStatus;
  ageMs: number;
  fence: string;
}

test("a key is held in the states and for the period that it was asked with, and by one job", async () => {
  const states = fc.subarray<JobStatus>(["PENDING", "RUNNING", "SUCCEEDED", "DEAD", "CANCELLED"], {
    minLength: 1,
  });
  const asked = fc.record({
    states: fc.option(states, { nil: undefined }),
    periodMs: fc.option(fc.constant(periodMs), { nil: undefined }),
  });
  const command = fc.oneof(
    { weight: 4, arbitrary: asked },
    { weight: 4, arbitrary: fc.constantFrom("claim", "succeeded", "retry", "dead", "cancelled") },
    { weight: 1, arbitrary: fc.constant("wait") },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(command, { minLength: 2, maxLength: 25 }), async (commands) => {
      await database.pool.query(
        `TRUNCATE evenkeel.background_job, evenkeel.background_job_history, evenkeel.background_job_unique_key`,
      );
      let holder: Holder | undefined;
      const observed: object[] = [];
      const expected: object[] = [];
      for (const step of commands) {
        if (typeof step === "object") {
          const kept = step.states ?? ["PENDING", "RUNNING"];
          const isHeld =
            holder !== undefined &&
            kept.includes(holder.state) &&
            (step.periodMs === undefined || holder.ageMs < step.periodMs);
          const { states: only, periodMs: within } = step;
          const uniqueness = {
            ...(only === undefined ? {} : { states: only }),
            ...(within === undefined ? {} : { periodMs: within }),
          };
          const inserted = await insert(newJob("k", uniqueness), newJob("k", uniqueness));
          observed.push({
            created: inserted.map(({ created }) => created),
            isOne: inserted[0]?.id === inserted[1]?.id,
            isHolder: inserted[0]?.id === holder?.id,
          });
          expected.push({ created: [!isHeld, false], isOne: true, isHolder: isHeld });
          if (!isHeld)
            holder = { id: inserted[0]?.id ?? "", state: "PENDING", ageMs: 0, fence: "" };
        } else if (step === "wait") {
          await pass(periodMs);
          if (holder !== undefined) holder.ageMs += periodMs;
        } else if (step === "claim") {
          const { jobs } = await ledger.jobs.claim({
            lane: "stable",
            types: ["a"],
            limit: 100,
            leaseMs: 60_000,
            owner: "o",
          });
          const own = jobs.find(({ id }) => id === holder?.id);
          if (holder !== undefined && own !== undefined) {
            holder.state = "RUNNING";
            holder.fence = own.fence;
          }
        } else if (holder?.state === "RUNNING") {
          const { id, fence } = holder;
          const error = { code: "x", message: "x" };
          const ends: Record<string, Settlement> = {
            succeeded: { id, fence, kind: "succeeded" },
            retry: { id, fence, kind: "retry", delayMs: 0, error },
            dead: { id, fence, kind: "dead", reason: "terminal", error },
            cancelled: { id, fence, kind: "cancelled" },
          };
          await ledger.jobs.settle(Object.values(ends).filter(({ kind }) => kind === step));
          holder.state = step === "retry" ? "PENDING" : toStatus(step);
        }
      }
      expect(observed).toEqual(expected);
    }),
    { numRuns: 60 },
  );
});

function toStatus(step: string): JobStatus {
  return step === "succeeded" ? "SUCCEEDED" : step === "dead" ? "DEAD" : "CANCELLED";
}

test("of 40 hosts that ask at once for a key that is free again, one gets it", async () => {
  const uniqueness = { states: ["PENDING"] } as const;
  const hosts = Array.from({ length: 8 }, () => createLedger({ pool: database.connect(1) }));
  let last = "";
  for (let round = 0; round < 10; round += 1) {
    const inserted = await Promise.all(
      Array.from({ length: 40 }, (_, n) =>
        (hosts[n % 8] ?? ledger).jobs.insert(undefined, [newJob("k", uniqueness)]),
      ),
    );
    const flat = inserted.flat();
    expect(flat.filter(({ created }) => created)).toHaveLength(1);
    expect(new Set(flat.map(({ id }) => id)).size).toBe(1);
    expect(flat[0]?.id).not.toBe(last);
    last = flat[0]?.id ?? "";
    // It runs: the key is free.
    await database.pool.query(
      `UPDATE evenkeel.background_job SET state = 'RUNNING', lease_expires_at = 'infinity'`,
    );
  }
  for (const host of hosts) await host.close();
});

test("a key taken in a transaction that rolls back is free, and its former holder keeps it", async () => {
  const uniqueness = { states: ["PENDING"] } as const;
  const [first] = await insert(newJob("k", uniqueness));
  await database.pool.query(
    `UPDATE evenkeel.background_job SET state = 'RUNNING', lease_expires_at = 'infinity'`,
  );
  const client = await database.pool.connect();
  await client.query("BEGIN");
  const [second] = await ledger.jobs.insert(toSqlClient(client), [newJob("k", uniqueness)]);
  expect(second).toMatchObject({ created: true });
  await client.query("ROLLBACK");
  client.release();
  await database.pool.query(`UPDATE evenkeel.background_job SET state = 'PENDING'`);
  expect(await insert(newJob("k", uniqueness))).toEqual([{ id: first?.id, created: false }]);
});

/** Lets the job that waits die, and returns its letter's id. */
async function die(): Promise<string> {
  const request = { lane: "stable", types: ["a"], limit: 1, leaseMs: 60_000, owner: "o" } as const;
  const { jobs } = await ledger.jobs.claim(request);
  const error = { code: "x", message: "x" };
  await ledger.jobs.settle(
    jobs.map(({ id, fence }) => ({ id, fence, kind: "dead", reason: "terminal", error })),
  );
  const letters = await ledger.asOperator("ada").deadLetters.list({ status: "OPEN" });
  return letters[0]?.id ?? "";
}

async function redrive(id: string): Promise<string[]> {
  const job = { payload: "{}", version: 1, maxAttempts: 3 };
  return ledger.asOperator("ada").deadLetters.requeue([{ id, job }]);
}

test("a key whose job died and was requeued is held by the new job", async () => {
  for (const uniqueness of [undefined, { periodMs }, { states: ["PENDING"], periodMs }] as const) {
    await insert(newJob("k", uniqueness));
    const letter = await die();
    expect(await redrive(letter)).toEqual([letter]);
    const { rows } = await database.pool.query<{ id: string }>(
      `SELECT id::text FROM evenkeel.background_job`,
    );
    expect(await insert(newJob("k", uniqueness))).toEqual([{ id: rows[0]?.id, created: false }]);
    await database.pool.query(`TRUNCATE evenkeel.background_job`);
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
  const once = { states: ["PENDING", "RUNNING", "SUCCEEDED"], periodMs } as const;
  const { uniqueKey: _none, ...plain } = newJob("");
  const inserted = await insert(
    newJob("a"),
    newJob("a", once),
    plain,
    newJob("a"),
    newJob("b", once),
  );
  expect(inserted.map(({ created }) => created)).toEqual([true, true, true, false, true]);
  expect(inserted[3]?.id).toBe(inserted[0]?.id);
  const again = await insert(newJob("b", once), newJob("a"), newJob("a", once));
  expect(again.map(({ id }) => id)).toEqual([inserted[4]?.id, inserted[0]?.id, inserted[1]?.id]);
});
