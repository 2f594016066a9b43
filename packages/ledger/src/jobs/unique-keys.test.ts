import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import fc from "fast-check";
import type { PoolClient } from "pg";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";

import { toSqlClient } from "../database/database.ts";
import { createLedger, type Ledger } from "../ledger.ts";
import { debounce, UniqueKeyModel, type ModelEnqueue } from "../testing/unique-key-model.ts";
import { createAvailability } from "./claim/availability.ts";
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

const minuteMs = 60_000;

/** Lets so much time pass for keys and jobs. */
async function pass(byMs: number): Promise<void> {
  const before = (column: string): string =>
    `${column} = ${column} - ${byMs} * interval '1 millisecond'`;
  await database.pool.query(`
    UPDATE evenkeel.background_job_unique_key SET ${before("enqueued_at")}, ${before("kept_until")};
    UPDATE evenkeel.background_job
    SET ${before("created_at")}, ${before("run_at")}, ${before("turn_at")};
    UPDATE evenkeel.background_job_history SET ${before("finished_at")}`);
}

type Command =
  | (ModelEnqueue & { readonly by: string })
  | { readonly end: "commit" | "rollback"; readonly by: string }
  | "claim"
  | "cancel"
  | "succeeded"
  | "retry"
  | "dead"
  | "cancelled"
  | "prune"
  | "pass";

const asked = fc.record({
  by: fc.constantFrom("pool", "pool", "a", "b"),
  states: fc.option(
    fc.subarray<JobStatus>(["PENDING", "RUNNING", "SUCCEEDED", "DEAD", "CANCELLED"]),
    { nil: undefined },
  ),
  period: fc.option(fc.constantFrom(90, 600_000), { nil: undefined }),
  mode: fc.constantFrom("keep", "replace", "debounce"),
  delay: fc.constantFrom(0, 30),
});

const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 10, arbitrary: asked },
  {
    weight: 3,
    arbitrary: fc.record({
      end: fc.constantFrom("commit", "commit", "rollback"),
      by: fc.constantFrom("a", "b"),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.constantFrom(
      "claim",
      "claim",
      "claim",
      "succeeded",
      "retry",
      "retry",
      "dead",
      "cancelled",
    ),
  },
  { weight: 4, arbitrary: fc.constantFrom("cancel", "prune", "pass") },
);

/** Plays commands against Postgres and the model, and compares each answer. */
class Play {
  readonly model = new UniqueKeyModel();
  readonly clients = new Map<string, PoolClient>();
  readonly fences = new Map<string, string>();
  /** Jobs by when they were claimed last, and what waits to be seen by a claim after its commit. */
  readonly claimedAt = new Map<string, number>();
  readonly due: { id: string; at: number; by: string }[] = [];
  step = 0;

  async run(next: Command): Promise<void> {
    this.step += 1;
    if (typeof next === "object") await ("end" in next ? this.end(next) : this.enqueue(next));
    else if (next === "claim") await this.claim();
    else if (next === "cancel") await this.cancel();
    else if (next === "prune") await this.prune();
    else if (next === "pass") await this.pass(60);
    else await this.settle(next);
  }

  async enqueue(next: ModelEnqueue & { readonly by: string }): Promise<void> {
    const expected = this.model.expect(next.by, next);
    if (expected === undefined) return;
    const isReplacing = next.mode !== "keep";
    const uniqueness: Uniqueness = {
      ...(next.states && { states: next.states }),
      ...(next.period !== undefined && { periodMs: next.period * minuteMs }),
      ...(isReplacing && { onConflict: "replace" }),
      ...(next.mode === "debounce" && { maxDelayMs: debounce.most * minuteMs }),
    };
    const delayMs = (next.mode === "debounce" ? debounce.delay : next.delay) * minuteMs;
    const twins = [2 * this.step, 2 * this.step + 1].map((n) => {
      return { ...newJob("k", uniqueness), delayMs, payloadText: String(n) };
    });
    const client = await this.client(next.by);
    const inserted = await ledger.jobs.insert(client && toSqlClient(client), twins);
    const created = expected.kind === "created";
    const id = created ? (inserted[0]?.id ?? "") : expected.job.id;
    const replaced = (is: boolean): object => (is && isReplacing ? { replaced: true } : {});
    const wasReplaced = expected.kind === "replaced";
    expect(inserted).toEqual([
      { id, created, ...replaced(wasReplaced) },
      { id, created: false, ...replaced(wasReplaced || created) },
    ]);
    if (created) expect(this.model.jobs.map((job) => job.id)).not.toContain(id);
    this.model.enqueue(next.by, next, id, isReplacing ? 2 * this.step + 1 : 2 * this.step);
    if (expected.kind !== "ran") this.due.push({ id, at: this.step, by: next.by });
  }

  async client(by: string): Promise<PoolClient | undefined> {
    if (by === "pool") return undefined;
    const open = this.clients.get(by);
    if (open !== undefined) return open;
    const client = await database.pool.connect();
    await client.query("BEGIN");
    this.clients.set(by, client);
    return client;
  }

  async end({
    end,
    by,
  }: {
    readonly end: "commit" | "rollback";
    readonly by: string;
  }): Promise<void> {
    const client = this.clients.get(by);
    if (client === undefined) return;
    this.clients.delete(by);
    await client.query(end);
    client.release();
    this.model[end](by);
    for (const entry of this.due.filter((own) => own.by === by)) {
      if (end === "rollback") this.due.splice(this.due.indexOf(entry), 1);
      else Object.assign(entry, { by: "pool", at: this.step });
    }
  }

  async claim(): Promise<void> {
    const expected = this.model.claimable();
    await createAvailability(toSqlClient(database.pool), { lower: () => {} }).makeAvailable({
      types: ["a"],
    });
    const request = {
      lane: "stable",
      types: ["a"],
      limit: 100,
      leaseMs: 600_000,
      owner: "o",
    } as const;
    const { jobs } = await ledger.jobs.claim(request);
    await ledger.jobs.start(jobs);
    const seen = jobs.map(({ id, payload, attempt }) => ({ id, payload, attempt }));
    const byId = (one: { id: string }, other: { id: string }): number =>
      Number(one.id) - Number(other.id);
    expect(seen.toSorted(byId)).toEqual(
      expected
        .map(({ id, payload, attempt }) => ({ id, payload, attempt: attempt + 1 }))
        .toSorted(byId),
    );
    for (const { id, fence } of jobs) {
      this.fences.set(id, fence);
      this.claimedAt.set(id, this.step);
    }
    for (const job of expected) Object.assign(job, { state: "RUNNING", attempt: job.attempt + 1 });
  }

  async settle(kind: "succeeded" | "retry" | "dead" | "cancelled"): Promise<void> {
    const error = { code: "x", message: "x" };
    const running = this.model.jobs.filter(({ state }) => state === "RUNNING");
    const settlements = running.map(({ id }): Settlement => {
      const claim = { id, fence: this.fences.get(id) ?? "" };
      if (kind === "retry") return { ...claim, kind, delayMs: 0, error };
      return kind === "dead" ? { ...claim, kind, reason: "terminal", error } : { ...claim, kind };
    });
    expect((await ledger.jobs.settle(settlements)).size).toBe(running.length);
    const states = { succeeded: "SUCCEEDED", dead: "DEAD", cancelled: "CANCELLED" } as const;
    for (const job of running) {
      if (kind === "retry") Object.assign(job, { state: "WAITING", due: 0 });
      else job.state = states[kind];
    }
  }

  async cancel(): Promise<void> {
    const job = this.model.jobs.find(({ state }) => state === "WAITING");
    if (job === undefined) return;
    expect(await ledger.asOperator("ada").jobs.cancel(job.id)).toBe(!this.model.isLocked(job));
    if (this.model.isLocked(job)) return;
    job.state = "CANCELLED";
    for (const entry of this.due.filter(({ id }) => id === job.id)) {
      this.due.splice(this.due.indexOf(entry), 1);
    }
  }

  async prune(): Promise<void> {
    // What ends at this moment has ended by then.
    if (this.clients.size === 0) await pass(1_000);
    await database.pool.query(`DELETE FROM evenkeel.background_dead_letter`);
    const jobHistory = { SUCCEEDED: 0, DEAD: 0, CANCELLED: 0 };
    await ledger.prune({ policy: { jobHistory, uniqueKeys: { RECORDED: 0 } } });
    if (this.clients.size === 0) {
      const { rows } = await database.pool.query(`SELECT FROM evenkeel.background_job_history`);
      expect(rows).toEqual([]);
    }
    this.model.prune();
  }

  async pass(minutes: number): Promise<void> {
    if (this.clients.size > 0) return;
    await pass(minutes * minuteMs);
    this.model.pass(minutes);
  }

  /** Ends all, and asks whether a claim after each commit saw what it enqueued. */
  async finish(): Promise<void> {
    for (const by of ["a", "b"]) await this.end({ end: "commit", by });
    await this.pass(1_000);
    for (;;) {
      this.step += 1;
      await this.settle("succeeded");
      if (this.model.claimable().length === 0) break;
      await this.claim();
    }
    const missed = this.due.filter(({ id, at }) => (this.claimedAt.get(id) ?? -1) <= at);
    expect(missed).toEqual([]);
  }
}

test("whatever is enqueued, claimed, settled, cancelled and pruned, in open transactions too, a key is held as the model says and no change is missed", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(command, { minLength: 2, maxLength: 30 }), async (commands) => {
      await database.pool.query(
        `TRUNCATE evenkeel.background_job, evenkeel.background_job_history,
           evenkeel.background_job_unique_key, evenkeel.background_dead_letter`,
      );
      const play = new Play();
      try {
        for (const next of commands) await play.run(next);
        await play.finish();
      } finally {
        for (const client of play.clients.values()) {
          await client.query("ROLLBACK");
          client.release();
        }
      }
    }),
    { numRuns: 100 },
  );
});

test("of 40 hosts that ask at once for a key that is free again, one gets it", async () => {
  const hosts = Array.from({ length: 8 }, () => createLedger({ pool: database.connect(1) }));
  let last = "";
  for (let round = 0; round < 10; round += 1) {
    const inserted = await Promise.all(
      Array.from({ length: 40 }, (_, n) =>
        (hosts[n % 8] ?? ledger).jobs.insert(undefined, [newJob("k")]),
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
  const [first] = await insert(newJob("k"));
  await database.pool.query(
    `UPDATE evenkeel.background_job SET state = 'RUNNING', lease_expires_at = 'infinity'`,
  );
  const client = await database.pool.connect();
  await client.query("BEGIN");
  const [second] = await ledger.jobs.insert(toSqlClient(client), [newJob("k")]);
  expect(second).toMatchObject({ created: true });
  await client.query("ROLLBACK");
  client.release();
  await database.pool.query(`UPDATE evenkeel.background_job SET state = 'PENDING'`);
  expect(await insert(newJob("k"))).toEqual([{ id: first?.id, created: false }]);
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
  const { jobs } = await ledger.jobs.claim(request);
  const error = { code: "x", message: "x" };
  await ledger.jobs.settle(
    jobs.map(({ id, fence }) =>
      id === inserted[1]?.id
        ? { id, fence, kind: "dead", reason: "terminal", error }
        : { id, fence, kind: "succeeded" },
    ),
  );
  const [letter] = await ledger.asOperator("ada").deadLetters.list();
  await ledger.asOperator("ada").deadLetters.discard({ ids: [letter?.id ?? ""] }, { reason: "r" });
  const left = async (): Promise<unknown> => {
    const { rows } = await database.pool.query(
      `SELECT (SELECT count(*)::int FROM evenkeel.background_job_history) AS jobs, ARRAY(
         SELECT unique_key FROM evenkeel.background_job_unique_key ORDER BY 1) AS keys`,
    );
    return rows[0];
  };
  await pass(364 * day);
  await ledger.prune({ policy });
  expect(await left()).toEqual({ jobs: 0, keys: ["dead", "kept"] });
  expect(await insert(newJob("kept", yearly))).toEqual([{ id: inserted[0]?.id, created: false }]);
  // What is held by those that succeeded is free after a death.
  expect(await insert(newJob("dead", yearly))).toMatchObject([{ created: true }]);
  await pass(2 * day);
  await ledger.prune({ policy });
  expect(await left()).toEqual({ jobs: 0, keys: ["dead"] });
});

test("batches that share keys in any order, beside claims, settlements, sweeps and prunes, never deadlock", async () => {
  const hosts = Array.from({ length: 6 }, () => createLedger({ pool: database.connect(2) }));
  const keys = Array.from({ length: 60 }, (_, n) => `k-${n}`);
  const request = { lane: "stable", types: ["a"], limit: 20, leaseMs: 1, owner: "o" } as const;
  const modes = [undefined, { onConflict: "replace" }, { states: ["RUNNING"] }] as const;
  const policy = { jobHistory: { SUCCEEDED: 0 }, uniqueKeys: { RECORDED: 0 } };
  let isOver = false;
  const workers = hosts.slice(0, 2).map(async ({ jobs, prune }) => {
    while (!isOver) {
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
      await prune({ policy });
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
  isOver = true;
  await Promise.all(workers);
  for (const host of hosts) await host.close();
});
