import fc from "fast-check";
import type { PoolClient } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";

import { toSqlClient } from "../database/database.ts";
import { newJob } from "../testing/job-queue.ts";
import { setup, type Setup } from "../testing/setup.ts";
import {
  debounce,
  maxAttempts,
  passTime,
  UniqueKeyModel,
  type ModelEnqueue,
} from "../testing/unique-key-model.ts";
import { createAvailability } from "./claim/availability.ts";
import type { JobStatus, Settlement, Uniqueness } from "./job.ts";

let t: Setup;
beforeAll(async () => {
  t = await setup();
});
afterAll(() => t.close());

const minuteMs = 60_000;

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
      const job = newJob("a", { uniqueKey: "k", uniqueness, maxAttempts });
      return { ...job, delayMs, payloadText: String(n) };
    });
    const client = await this.client(next.by);
    const inserted = await t.ledger.jobs.insert(client && toSqlClient(client), twins);
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
    const client = await t.database.pool.connect();
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
    await createAvailability(toSqlClient(t.database.pool), { lower: () => {} }).makeAvailable({
      types: ["a"],
    });
    const request = {
      lane: "stable",
      types: ["a"],
      limit: 100,
      leaseMs: 600_000,
      owner: "o",
    } as const;
    const { jobs } = await t.ledger.jobs.claim(request);
    await t.ledger.jobs.start(jobs);
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
    expect((await t.ledger.jobs.settle(settlements)).size).toBe(running.length);
    const states = { succeeded: "SUCCEEDED", dead: "DEAD", cancelled: "CANCELLED" } as const;
    for (const job of running) {
      if (kind === "retry") Object.assign(job, { state: "WAITING", due: 0 });
      else job.state = states[kind];
    }
  }

  async cancel(): Promise<void> {
    const job = this.model.jobs.find(({ state }) => state === "WAITING");
    // It would wait for the transaction that met the job.
    if (job === undefined || this.model.isLocked(job)) return;
    expect(await t.ledger.asOperator("ada").jobs.cancel(job.id)).toMatchObject({ cancelled: true });
    job.state = "CANCELLED";
    for (const entry of this.due.filter(({ id }) => id === job.id)) {
      this.due.splice(this.due.indexOf(entry), 1);
    }
  }

  async prune(): Promise<void> {
    // What ends at this moment has ended by then.
    if (this.clients.size === 0) await passTime(t.database.pool, 1_000);
    await t.database.pool.query(`DELETE FROM evenkeel.background_dead_letter`);
    const jobHistory = { SUCCEEDED: 0, DEAD: 0, CANCELLED: 0 };
    await t.ledger.prune({ policy: { jobHistory, uniqueKeys: { RECORDED: 0 } } });
    if (this.clients.size === 0) {
      const { rows } = await t.database.pool.query(`SELECT FROM evenkeel.background_job_history`);
      expect(rows).toEqual([]);
    }
    this.model.prune();
  }

  async pass(minutes: number): Promise<void> {
    if (this.clients.size > 0) return;
    await passTime(t.database.pool, minutes * minuteMs);
    this.model.pass(minutes);
  }

  /** Ends all, and returns what was enqueued and seen by no claim after its commit. */
  async finish(): Promise<object[]> {
    for (const by of ["a", "b"]) await this.end({ end: "commit", by });
    await this.pass(1_000);
    for (;;) {
      this.step += 1;
      await this.settle("succeeded");
      if (this.model.claimable().length === 0) break;
      await this.claim();
    }
    return this.due.filter(({ id, at }) => (this.claimedAt.get(id) ?? -1) <= at);
  }
}

test("whatever is enqueued, claimed, settled, cancelled and pruned, in open transactions too, a key is held as the model says and no change is missed", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(command, { minLength: 2, maxLength: 30 }), async (commands) => {
      await t.database.pool.query(
        `TRUNCATE evenkeel.background_job, evenkeel.background_job_history,
           evenkeel.background_job_unique_key, evenkeel.background_dead_letter`,
      );
      const play = new Play();
      try {
        for (const next of commands) await play.run(next);
        expect(await play.finish()).toEqual([]);
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
