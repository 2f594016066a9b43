import { expect, test } from "vitest";

import { claimRequest, newJob } from "../testing/job-queue.ts";
import { insertUniqueKey } from "../testing/old-rows.ts";
import { setup, type Setup } from "../testing/setup.ts";
import type { ClaimedJob, NewJob, Settlement } from "./job.ts";

/** The id that every job of these tests gets, as after a cut-over that set the sequence back. */
const id = "7";

/** Stores and claims a job under that id. */
async function claimNew(t: Setup, change: Partial<NewJob> = {}): Promise<ClaimedJob> {
  await t.database.pool.query(`SELECT setval('evenkeel.background_job_id_seq', 7, false)`);
  await t.ledger.jobs.insert(undefined, [newJob("j", change)]);
  const { jobs } = await t.ledger.jobs.claim(claimRequest(["j"], 1));
  await t.ledger.jobs.start(jobs);
  const [job] = jobs;
  if (job?.id !== id) throw new Error(`There is a job ${id} to claim.`);
  return job;
}

const error = { code: "c", message: "m" } as const;
const dies = { kind: "dead", reason: "exhausted", error } as const;

async function settle(
  t: Setup,
  { id: jobId, fence }: ClaimedJob,
  how: { readonly kind: "succeeded"; readonly result?: unknown } | typeof dies,
): Promise<void> {
  const settlement: Settlement = { ...how, id: jobId, fence };
  expect(await t.ledger.jobs.settle([settlement])).toEqual(new Set([jobId]));
}

const done = { kind: "succeeded" } as const;
const requeued = { payload: `{"n":2}`, version: 1, maxAttempts: 3 };

test("a job whose id was used before ends, whichever way, and is the one that its id answers", async () => {
  await using t = await setup();
  await settle(t, await claimNew(t), { ...done, result: "first" });
  await settle(t, await claimNew(t, { version: 2 }), dies);
  await settle(t, await claimNew(t, { version: 3 }), dies);
  await settle(t, await claimNew(t, { version: 4 }), { ...done, result: "fourth" });
  const operator = t.ledger.asOperator("ada");
  expect(await operator.jobs.find(id)).toMatchObject({ version: 4, result: "fourth" });
  expect(await operator.jobs.explain(id)).toMatchObject({ cause: "succeeded", deadLetter: null });
  expect((await operator.jobs.list()).map(({ version }) => version)).toEqual([4, 3, 2, 1]);
  const firstPage = await operator.jobs.list({ limit: 2 });
  const after = firstPage[1];
  if (after === undefined) throw new Error("There are two pages.");
  expect((await operator.jobs.list({ limit: 2, after })).map(({ version }) => version)).toEqual([
    2, 1,
  ]);
  const waiting = await claimNew(t, { version: 5 });
  expect(await operator.jobs.find(id)).toMatchObject({ version: 5, status: "RUNNING" });
  expect(await operator.jobs.explain(id)).toMatchObject({ status: "RUNNING" });
  await settle(t, waiting, dies);
  expect(await operator.jobs.explain(id)).toMatchObject({ cause: "dead" });
});

test("each of two dead jobs of one id has a letter, and comes back with what was its own", async () => {
  await using t = await setup();
  await settle(t, await claimNew(t, { tenantId: "a", correlationId: "of a", priority: 1 }), dies);
  await settle(t, await claimNew(t, { tenantId: "b", correlationId: "of b", version: 2 }), dies);
  const { deadLetters } = t.ledger.asOperator("ada");
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
  const { jobs } = await t.ledger.jobs.claim(claimRequest(["j"], 2));
  const claimed = jobs.map((job) => [job.tenantId, job.correlationId, job.priority, job.version]);
  expect(claimed.toSorted((a, b) => String(a).localeCompare(String(b)))).toEqual([
    ["a", "of a", 1, 1],
    ["b", "of b", 0, 2],
  ]);
});

test("a job never meets what another of its id did, be it of its tenant", async () => {
  await using t = await setup();
  const first = await claimNew(t);
  await t.ledger.jobs.effects.begin(first, "mail", true);
  await t.ledger.jobs.effects.finish(first, "mail", "sent");
  await settle(t, first, done);
  const second = await claimNew(t);
  expect(await t.ledger.jobs.effects.begin(second, "mail", false)).toMatchObject({
    outcome: "begun",
    isRepeat: false,
  });
  expect(await t.ledger.jobs.effects.forget(second, "mail")).toBe(true);
  expect(await t.ledger.asOperator("ada").effects.list(id)).toMatchObject([
    { name: "mail", state: "DONE", result: "sent" },
  ]);
});

test("a dead job's effects go with its letter, and an operator decides about those of one job", async () => {
  await using t = await setup();
  const keys: unknown[] = [];
  for (const tenantId of ["a", "b"]) {
    const job = await claimNew(t, { tenantId });
    keys.push(await t.ledger.jobs.effects.begin(job, "mail", false));
    await settle(t, job, dies);
  }
  const { deadLetters, effects } = t.ledger.asOperator("ada");
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
  const { jobs } = await t.ledger.jobs.claim(claimRequest(["j"], 1));
  expect(await effects.list(jobs[0]?.id ?? "")).toMatchObject([{ tenantId: "a", state: "DONE" }]);
  expect(await effects.list(id)).toEqual([]);
});

test("whoever held an earlier job of an id writes nothing to the new one", async () => {
  await using t = await setup();
  const zombie = await claimNew(t);
  // Another worker ended it meanwhile.
  await t.database.pool.query(`DELETE FROM evenkeel.background_job`);
  const owner = await claimNew(t);
  const { jobs } = t.ledger;
  expect(await jobs.heartbeat([zombie], 30_000)).toEqual(new Set());
  expect(await jobs.start([zombie])).toEqual(new Set());
  await jobs.recordProgress([{ ...zombie, done: 1, total: 2 }]);
  expect(await jobs.effects.begin(zombie, "mail", true)).toEqual({ outcome: "refused" });
  for (const how of [done, dies]) {
    expect(await jobs.settle([{ ...how, id, fence: zombie.fence }])).toEqual(new Set());
  }
  expect(await t.ledger.asOperator("ada").jobs.find(id)).toMatchObject({
    status: "RUNNING",
    progress: null,
  });
  await settle(t, owner, done);
});

test("each of two ended jobs of one id is kept as long as its own letter asks for", async () => {
  await using t = await setup();
  for (const end of [dies, done]) {
    const job = await claimNew(t);
    await t.ledger.jobs.effects.begin(job, "mail", true);
    await settle(t, job, end);
  }
  await insertUniqueKey(t.database.pool, 0, id);
  const everything = { SUCCEEDED: 0, DEAD: 0, CANCELLED: 0 };
  const policy = { jobHistory: everything, effects: { RECORDED: 0 }, uniqueKeys: { RECORDED: 0 } };
  await t.ledger.prune({ policy });
  const operator = t.ledger.asOperator("ada");
  expect((await operator.jobs.list()).map(({ status }) => status)).toEqual(["DEAD"]);
  expect(await operator.effects.list(id)).toHaveLength(1);
  await operator.deadLetters.discard({}, { reason: "r" });
  await t.ledger.prune({ policy });
  expect(await operator.jobs.find(id)).toBeUndefined();
  expect(await operator.effects.list(id)).toEqual([]);
});

test("a key whose job's id is another type's by now is free, and names no job of that type", async () => {
  await using t = await setup();
  const keyed = { tenantId: "t", uniqueKey: "k" } as const;
  await settle(t, await claimNew(t, keyed), done);
  await t.database.pool.query(`SELECT setval('evenkeel.background_job_id_seq', 7, false)`);
  const [other] = await t.ledger.jobs.insert(undefined, [newJob("other", keyed)]);
  expect(other).toEqual({ id, created: true });
  const { jobs } = t.ledger.asOperator("ada");
  const key = { ...keyed, type: "j" };
  expect(await jobs.reschedule(key, { delayMs: 60_000 })).toMatchObject({ rescheduled: false });
  expect(await jobs.cancel(key)).toEqual({ cancelled: false, id, status: "SUCCEEDED" });
  expect(await jobs.find(id)).toMatchObject({ type: "other", status: "PENDING" });
  const [again] = await t.ledger.jobs.insert(undefined, [newJob("j", keyed)]);
  expect(again).toMatchObject({ created: true });
  expect(again?.id).not.toBe(id);
});

test("a key whose job's id is another tenant's by now cancels nothing of that tenant", async () => {
  await using t = await setup();
  await settle(t, await claimNew(t, { tenantId: "a", uniqueKey: "k" }), done);
  await claimNew(t, { tenantId: "b", uniqueKey: "k" });
  const { jobs } = t.ledger.asOperator("ada");
  expect(await jobs.cancel({ tenantId: "a", type: "j", uniqueKey: "k" })).toEqual({
    cancelled: false,
    id,
    status: "SUCCEEDED",
  });
  expect(await jobs.find(id)).toMatchObject({ tenantId: "b", status: "RUNNING" });
});

test("who cancels a job of an id that was used twice is told how the last one ended", async () => {
  await using t = await setup();
  await settle(t, await claimNew(t), dies);
  await settle(t, await claimNew(t), done);
  const told = await t.ledger.forTenant("t").jobs.cancel(id);
  expect(told).toEqual({ cancelled: false, id, status: "SUCCEEDED" });
});
