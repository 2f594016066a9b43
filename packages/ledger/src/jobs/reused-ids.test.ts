import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import { afterEach, beforeEach, expect, test } from "vitest";

import { createLedger, type Ledger } from "../ledger.ts";
import { claimRequest, newJob } from "../testing/job-queue.ts";
import { insertUniqueKey } from "../testing/old-rows.ts";
import type { ClaimedJob, NewJob, Settlement } from "./job.ts";

let database: TestDatabase;
let ledger: Ledger;
beforeEach(async () => {
  database = await createTestDatabase();
  ledger = createLedger({ pool: database.pool });
});
afterEach(async () => {
  await ledger.close();
  await database.drop();
});

/** The id that every job of these tests gets, as after a cut-over that set the sequence back. */
const id = "7";

/** Stores and claims a job under that id. */
async function claimNew(change: Partial<NewJob> = {}): Promise<ClaimedJob> {
  await database.pool.query(`SELECT setval('evenkeel.background_job_id_seq', 7, false)`);
  await ledger.jobs.insert(undefined, [newJob("j", change)]);
  const { jobs } = await ledger.jobs.claim(claimRequest(["j"], 1));
  await ledger.jobs.start(jobs);
  const [job] = jobs;
  if (job?.id !== id) throw new Error(`There is a job ${id} to claim.`);
  return job;
}

const error = { code: "c", message: "m" } as const;
const dies = { kind: "dead", reason: "exhausted", error } as const;

async function settle(
  { id: jobId, fence }: ClaimedJob,
  how: { readonly kind: "succeeded"; readonly result?: unknown } | typeof dies,
): Promise<void> {
  const settlement: Settlement = { ...how, id: jobId, fence };
  expect(await ledger.jobs.settle([settlement])).toEqual(new Set([jobId]));
}

const done = { kind: "succeeded" } as const;
const requeued = { payload: `{"n":2}`, version: 1, maxAttempts: 3 };

test("a job whose id was used before ends, whichever way, and is the one that its id answers", async () => {
  await settle(await claimNew(), { ...done, result: "first" });
  await settle(await claimNew({ version: 2 }), dies);
  await settle(await claimNew({ version: 3 }), dies);
  await settle(await claimNew({ version: 4 }), { ...done, result: "fourth" });
  const operator = ledger.asOperator("ada");
  expect(await operator.jobs.find(id)).toMatchObject({ version: 4, result: "fourth" });
  expect(await operator.jobs.explain(id)).toMatchObject({ cause: "succeeded", deadLetter: null });
  expect((await operator.jobs.list()).map(({ version }) => version)).toEqual([4, 3, 2, 1]);
  const firstPage = await operator.jobs.list({ limit: 2 });
  const after = firstPage[1];
  if (after === undefined) throw new Error("There are two pages.");
  expect((await operator.jobs.list({ limit: 2, after })).map(({ version }) => version)).toEqual([
    2, 1,
  ]);
  const waiting = await claimNew({ version: 5 });
  expect(await operator.jobs.find(id)).toMatchObject({ version: 5, status: "RUNNING" });
  expect(await operator.jobs.explain(id)).toMatchObject({ status: "RUNNING" });
  await settle(waiting, dies);
  expect(await operator.jobs.explain(id)).toMatchObject({ cause: "dead" });
});

test("each of two dead jobs of one id has a letter, and comes back with what was its own", async () => {
  await settle(await claimNew({ tenantId: "a", correlationId: "of a", priority: 1 }), dies);
  await settle(await claimNew({ tenantId: "b", correlationId: "of b", version: 2 }), dies);
  const { deadLetters } = ledger.asOperator("ada");
  const letters = await deadLetters.list({ status: "OPEN" });
  expect(letters.map(({ tenantId, version }) => [tenantId, version])).toEqual([
    ["b", 2],
    ["a", 1],
  ]);
  // The newer job's version is no reason to refuse the older one's letter.
  const items = letters.map((letter) => ({
    id: letter.id,
    job: { ...requeued, version: letter.version ?? 0 },
  }));
  expect(await deadLetters.requeue(items)).toHaveLength(2);
  const { jobs } = await ledger.jobs.claim(claimRequest(["j"], 2));
  const claimed = jobs.map((job) => [job.tenantId, job.correlationId, job.priority, job.version]);
  expect(claimed.toSorted((a, b) => String(a).localeCompare(String(b)))).toEqual([
    ["a", "of a", 1, 1],
    ["b", "of b", 0, 2],
  ]);
});

test("a job never meets what another of its id did, be it of its tenant", async () => {
  const first = await claimNew();
  await ledger.jobs.effects.begin(first, "mail", true);
  await ledger.jobs.effects.finish(first, "mail", "sent");
  await settle(first, done);
  const second = await claimNew();
  expect(await ledger.jobs.effects.begin(second, "mail", false)).toMatchObject({
    outcome: "begun",
    isRepeat: false,
  });
  expect(await ledger.jobs.effects.forget(second, "mail")).toBe(true);
  expect(await ledger.asOperator("ada").effects.list(id)).toMatchObject([
    { name: "mail", state: "DONE", result: "sent" },
  ]);
});

test("a dead job's effects go with its letter, and an operator decides about those of one job", async () => {
  const keys: unknown[] = [];
  for (const tenantId of ["a", "b"]) {
    const job = await claimNew({ tenantId });
    keys.push(await ledger.jobs.effects.begin(job, "mail", false));
    await settle(job, dies);
  }
  const { deadLetters, effects } = ledger.asOperator("ada");
  const [, ofFirst] = await deadLetters.list();
  if (ofFirst === undefined) throw new Error("There are two letters.");
  const jobCreatedAt = ofFirst.sourceCreatedAt;
  expect(await effects.resolve(id, "mail", { happened: true, jobCreatedAt })).toBe(true);
  expect(await effects.list(id)).toMatchObject([
    { tenantId: "a", state: "DONE", jobCreatedAt },
    { tenantId: "b", state: "STARTED" },
  ]);
  expect(await effects.resolve(id, "mail", { happened: false })).toBe(true);
  expect(await effects.list(id)).toMatchObject([{ tenantId: "a" }]);
  await deadLetters.requeue([{ id: ofFirst.id, job: requeued }]);
  const { jobs } = await ledger.jobs.claim(claimRequest(["j"], 1));
  expect(await effects.list(jobs[0]?.id ?? "")).toMatchObject([{ tenantId: "a", state: "DONE" }]);
  expect(await effects.list(id)).toEqual([]);
});

test("whoever held an earlier job of an id writes nothing to the new one", async () => {
  const zombie = await claimNew();
  // Another worker ended it meanwhile.
  await database.pool.query(`DELETE FROM evenkeel.background_job`);
  const owner = await claimNew();
  const { jobs } = ledger;
  expect(await jobs.heartbeat([zombie], 30_000)).toEqual(new Set());
  expect(await jobs.start([zombie])).toEqual(new Set());
  await jobs.recordProgress([{ ...zombie, done: 1, total: 2 }]);
  expect(await jobs.effects.begin(zombie, "mail", true)).toEqual({ outcome: "refused" });
  for (const how of [done, dies]) {
    expect(await jobs.settle([{ ...how, id, fence: zombie.fence }])).toEqual(new Set());
  }
  expect(await ledger.asOperator("ada").jobs.find(id)).toMatchObject({
    status: "RUNNING",
    progress: null,
  });
  await settle(owner, done);
});

test("each of two ended jobs of one id is kept as long as its own letter asks for", async () => {
  for (const end of [dies, done]) {
    const job = await claimNew();
    await ledger.jobs.effects.begin(job, "mail", true);
    await settle(job, end);
  }
  await insertUniqueKey(database.pool, 0, id);
  const everything = { SUCCEEDED: 0, DEAD: 0, CANCELLED: 0 };
  const policy = { jobHistory: everything, effects: { RECORDED: 0 }, uniqueKeys: { RECORDED: 0 } };
  await ledger.prune({ policy });
  const operator = ledger.asOperator("ada");
  expect((await operator.jobs.list()).map(({ status }) => status)).toEqual(["DEAD"]);
  expect(await operator.effects.list(id)).toHaveLength(1);
  await operator.deadLetters.discard({}, { reason: "r" });
  await ledger.prune({ policy });
  expect(await operator.jobs.find(id)).toBeUndefined();
  expect(await operator.effects.list(id)).toEqual([]);
});

test("a key whose job's id is another type's by now is free, and names no job of that type", async () => {
  const keyed = { tenantId: "t", uniqueKey: "k" } as const;
  await settle(await claimNew(keyed), done);
  await database.pool.query(`SELECT setval('evenkeel.background_job_id_seq', 7, false)`);
  const [other] = await ledger.jobs.insert(undefined, [newJob("other", keyed)]);
  expect(other).toEqual({ id, created: true });
  const { jobs } = ledger.asOperator("ada");
  const key = { ...keyed, type: "j" };
  expect(await jobs.reschedule(key, { delayMs: 60_000 })).toMatchObject({ rescheduled: false });
  expect(await jobs.cancel(key)).toEqual({ cancelled: false, id, status: "SUCCEEDED" });
  expect(await jobs.find(id)).toMatchObject({ type: "other", status: "PENDING" });
  const [again] = await ledger.jobs.insert(undefined, [newJob("j", keyed)]);
  expect(again).toMatchObject({ created: true });
  expect(again?.id).not.toBe(id);
});

test("a key whose job's id is another tenant's by now cancels nothing of that tenant", async () => {
  await settle(await claimNew({ tenantId: "a", uniqueKey: "k" }), done);
  await claimNew({ tenantId: "b", uniqueKey: "k" });
  const { jobs } = ledger.asOperator("ada");
  expect(await jobs.cancel({ tenantId: "a", type: "j", uniqueKey: "k" })).toEqual({
    cancelled: false,
    id,
    status: "SUCCEEDED",
  });
  expect(await jobs.find(id)).toMatchObject({ tenantId: "b", status: "RUNNING" });
});

test("who cancels a job of an id that was used twice is told how the last one ended", async () => {
  await settle(await claimNew(), dies);
  await settle(await claimNew(), done);
  const told = await ledger.forTenant("t").jobs.cancel(id);
  expect(told).toEqual({ cancelled: false, id, status: "SUCCEEDED" });
});
