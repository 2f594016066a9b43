import { randomUUID } from "node:crypto";

import type { PoolClient } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";

import { toSqlClient } from "../../database/database.ts";
import { createLedger } from "../../ledger.ts";
import { newJob } from "../../testing/job-queue.ts";
import { setup, type Setup } from "../../testing/setup.ts";
import type { ClaimedJob, NewJob } from "../job.ts";
import { changeJobs } from "./job-changes.ts";

let t: Setup;
beforeAll(async () => {
  t = await setup();
});
afterAll(() => t.close());

/** A caller's transaction that is open. */
let tx: PoolClient;
let type: string;
beforeEach(async () => {
  type = randomUUID();
  tx = await t.database.pool.connect();
  await tx.query("BEGIN");
});
afterEach(async () => {
  await tx.query("ROLLBACK");
  tx.release();
});

async function insert(change: Partial<NewJob> = {}): Promise<string> {
  const [job] = await t.ledger.jobs.insert(undefined, [newJob(type, change)]);
  return job?.id ?? "";
}

const held = ({ id, fence }: ClaimedJob): { id: string; fence: string } => ({ id, fence });

function historyOf(of: string): Promise<{ id: string; outcome: string }[]> {
  return t.rowsOf("background_job_history", of);
}

test("a running job is cancelled at once, on record, and its worker can settle nothing any more", async () => {
  const id = await insert();
  const job = await t.claimFirst(type);
  const operator = t.ledger.asOperator("ada");
  expect(await operator.jobs.cancel(id, { reason: "wrong invoice" })).toEqual({
    cancelled: true,
    id,
    status: "RUNNING",
  });
  expect(await historyOf(type)).toMatchObject([{ outcome: "CANCELLED", attempt: 1 }]);
  expect(await operator.audit({ subjectId: id })).toMatchObject([
    {
      actor: "ada",
      action: "job.cancel",
      reason: "wrong invoice",
      tenantId: "t",
      before: { status: "RUNNING", owner: "o", startedAt: expect.any(String) },
      after: { status: "CANCELLED" },
    },
  ]);
  const { jobs } = t.ledger;
  expect(await jobs.settle([{ ...held(job), kind: "succeeded" }])).toEqual(new Set());
  expect(await jobs.heartbeat([held(job)], 30_000)).toEqual(new Set());
  expect(await jobs.start([held(job)])).toEqual(new Set());
  expect(await jobs.standingOf([held(job)])).toEqual(new Map([[id, "cancelled"]]));
  expect((await t.claim([type], 10)).jobs).toEqual([]);
  expect(await historyOf(type)).toHaveLength(1);
});

test("a job that ended before stays as it ended, and the caller is told how", async () => {
  const id = await insert();
  const job = await t.claimFirst(type);
  await t.ledger.jobs.settle([{ ...held(job), kind: "succeeded" }]);
  const changes = changeJobs(tx, "t", "product");
  const told = { id, status: "SUCCEEDED" };
  expect(await changes.cancel(id)).toEqual({ cancelled: false, ...told });
  expect(await changes.reschedule(id, { delayMs: 0 })).toEqual({ rescheduled: false, ...told });
  expect(await changes.cancel("999999999")).toEqual({ cancelled: false });
  expect(await changes.cancel("no id")).toEqual({ cancelled: false });
  expect(await t.ledger.asOperator("ada").audit({ subjectId: id })).toEqual([]);
});

test("what a transaction cancels or moves is so when it commits, and as before when it is rolled back", async () => {
  const [kept, moved] = [await insert(), await insert()];
  const changes = changeJobs(tx, "t", "product");
  expect(await changes.cancel(kept)).toMatchObject({ cancelled: true, status: "PENDING" });
  expect(await changes.reschedule(moved, { delayMs: 60_000 })).toMatchObject({ rescheduled: true });
  await tx.query("ROLLBACK");
  const { jobs } = t.ledger.forTenant("t");
  expect(await jobs.find(kept)).toMatchObject({ status: "PENDING" });
  expect(await jobs.find(moved)).toMatchObject({ status: "PENDING" });
  await tx.query("BEGIN");
  await changes.cancel(kept);
  await changes.reschedule(moved, { delayMs: 60_000 });
  await tx.query("COMMIT");
  expect(await jobs.find(kept)).toMatchObject({ status: "CANCELLED" });
  expect(await jobs.find(moved)).toMatchObject({ status: "SCHEDULED" });
});

test("a tenant changes no job of another, by id or by key", async () => {
  const id = await insert({ tenantId: "other", uniqueKey: "k" });
  const changes = changeJobs(tx, "t", "product");
  for (const job of [id, { tenantId: "other", type, uniqueKey: "k" }]) {
    expect(await changes.cancel(job)).toEqual({ cancelled: false });
    expect(await changes.reschedule(job, new Date())).toEqual({ rescheduled: false });
  }
  expect(() => changeJobs(tx, "", "product")).toThrow(
    expect.objectContaining({ code: "invalid_tenant" }),
  );
  expect(() => changeJobs(tx, "t", " ")).toThrow(
    expect.objectContaining({ code: "invalid_actor" }),
  );
});

test("a key names the job that holds it, and is free once that is cancelled", async () => {
  const key = { tenantId: "t", type, uniqueKey: "k" };
  const lasting = { states: ["RUNNING", "SUCCEEDED"], periodMs: 86_400_000 } as const;
  for (const change of [{}, { uniqueness: lasting }]) {
    const id = await insert({ uniqueKey: "k", ...change });
    const { jobs } = t.ledger.asOperator("ada");
    expect(await jobs.reschedule(key, { delayMs: 60_000 })).toMatchObject({
      rescheduled: true,
      id,
    });
    expect(await jobs.cancel(key)).toEqual({ cancelled: true, id, status: "SCHEDULED" });
    expect(await jobs.cancel(key)).toMatchObject({ cancelled: false });
  }
});

test("of a job that runs and one that waits under the same key, the key names the one that waits", async () => {
  const key = { tenantId: "t", type, uniqueKey: "k" };
  const running = await insert({ uniqueKey: "k" });
  await t.claimFirst(type);
  const waiting = await insert({ uniqueKey: "k" });
  const changes = changeJobs(tx, "t", "product");
  expect(await changes.cancel(key)).toEqual({ cancelled: true, id: waiting, status: "PENDING" });
  await tx.query("COMMIT");
  expect(await changes.cancel(running)).toMatchObject({ cancelled: true, status: "RUNNING" });
});

test("who cancels by key waits for a transaction that enqueues under it, and cancels what that left", async () => {
  const key = { tenantId: "t", type, uniqueKey: "k" };
  const id = await insert({ uniqueKey: "k" });
  const { jobs } = t.ledger;
  const met = await jobs.insert(toSqlClient(tx), [newJob(type, { uniqueKey: "k" })]);
  expect(met).toMatchObject([{ id, created: false }]);
  const cancelling = t.ledger.asOperator("ada").jobs.cancel(key);
  await untilBlocked();
  await tx.query("COMMIT");
  expect(await cancelling).toMatchObject({ cancelled: true, id });
});

test("an open transaction that cancels keeps no other job from being claimed, renewed, started or settled", async () => {
  const host = createLedger({ pool: t.database.pool });
  const ids = [await insert(), await insert(), await insert()];
  const { jobs } = await t.claim([type], 3);
  const waiting = await insert();
  const claims = jobs.map(held);
  const changes = changeJobs(tx, "t", "product");
  await changes.cancel(ids[1] ?? "");
  await changes.cancel(waiting);
  const others = new Set([ids[0] ?? "", ids[2] ?? ""]);
  expect(await host.jobs.heartbeat(claims, 30_000)).toEqual(others);
  expect(await host.jobs.start(claims)).toEqual(others);
  expect((await host.jobs.standingOf(claims)).get(ids[1] ?? "")).toBe("held");
  expect((await t.claim([type], 3)).jobs).toEqual([]);
  const error = { code: "x", message: "x" };
  // Mixed, and nothing but successes: they are different statements.
  expect(
    await host.jobs.settle([
      { ...(claims[0] ?? missing()), kind: "retry", delayMs: 60_000, error },
      { ...(claims[1] ?? missing()), kind: "succeeded" },
    ]),
  ).toEqual(new Set([ids[0]]));
  expect(
    await host.jobs.settle(claims.slice(1).map((claim) => ({ ...claim, kind: "succeeded" }))),
  ).toEqual(new Set([ids[2]]));
  await tx.query("ROLLBACK");
  expect(await host.jobs.heartbeat(claims.slice(1, 2), 30_000)).toEqual(new Set([ids[1]]));
  await host.close();
});

function missing(): never {
  throw new Error("There are three claims.");
}

test("what nobody knows is set aside though a transaction has it locked", async () => {
  const { ledger } = t;
  const id = await insert();
  const second = await insert();
  await changeJobs(tx, "t", "product").cancel(id);
  const unknown = await ledger.jobs.unknownTypes({ types: [] });
  expect(unknown.find((each) => each.type === type)).toEqual({ type, count: 1 });
  const { jobs } = ledger.asOperator("ada");
  expect(await jobs.find(second)).toMatchObject({ status: "SCHEDULED" });
});

test("whoever cancels what is being settled waits for that, and finds how it ended", async () => {
  const id = await insert();
  const job = await t.claimFirst(type);
  await t.ledger.jobs.settle([{ ...held(job), kind: "succeeded" }], toSqlClient(tx));
  const cancelling = t.ledger.forTenant("t").jobs.cancel(id);
  await untilBlocked();
  await tx.query("COMMIT");
  expect(await cancelling).toEqual({ cancelled: false, id, status: "SUCCEEDED" });
});

/** Resolves when a session waits for a lock. */
async function untilBlocked(): Promise<void> {
  for (;;) {
    const { rows } = await t.database.pool.query(
      `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    );
    if (rows.length > 0) return;
  }
}

test("a job that is moved keeps its priority's turn, waits among the scheduled, and is claimed when it is due", async () => {
  const id = await insert({ priority: 2, delayMs: 3_600_000 });
  const { jobs } = t.ledger.asOperator("ada");
  const due = new Date(Date.now() - 60_000);
  expect(await jobs.reschedule(id, due)).toMatchObject({ rescheduled: true, status: "SCHEDULED" });
  const [row] = await t.rowsOf<{ turn_at: Date; run_at: Date }>("background_job", type);
  expect(row?.run_at).toEqual(due);
  expect(row?.turn_at).toEqual(new Date(due.getTime() - 1_200_000));
  expect((await t.claim([type], 1)).jobs).toMatchObject([{ id }]);
  expect(await jobs.reschedule(id, due)).toEqual({ rescheduled: false, id, status: "RUNNING" });
  await expect(jobs.reschedule(id, { delayMs: Number.NaN })).rejects.toThrow(RangeError);
});
