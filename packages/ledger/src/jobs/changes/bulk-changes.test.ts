import { randomUUID } from "node:crypto";

import { defined } from "@evenkeel/core";
import { expect, test } from "vitest";

import { newJob } from "../../testing/job-queue.ts";
import { explainStatement, rowsRead } from "../../testing/plan.ts";
import { setup } from "../../testing/setup.ts";
import { cancelManyStatement, rescheduleManyStatement } from "./bulk-changes.ts";
import { changeJobs } from "./job-changes.ts";

test("every job that matches is cancelled, in calls of a bound, and the newer ones are left", async () => {
  await using t = await setup();
  const type = randomUUID();
  await t.insert(type, "t", 1_200);
  await t.insert("other", "t", 10);
  const running = (await t.claim([type], 3)).jobs.map(({ id }) => id);
  const { jobs } = t.ledger.asOperator("ada");
  expect(await jobs.countMatching({ type })).toBe(1_200);
  expect(await jobs.countMatching({ type, statuses: ["RUNNING"] })).toBe(3);
  const cancelled: string[] = [];
  let cursor: string | undefined;
  let calls = 0;
  do {
    const change = await jobs.cancelMany(
      { type },
      { limit: 700, reason: "a loop", ...defined({ cursor }) },
    );
    expect(change.ids.length).toBeLessThanOrEqual(700);
    expect(change.passedOver).toEqual([]);
    cancelled.push(...change.ids);
    cursor = change.cursor ?? undefined;
    calls += 1;
    // The queue goes on: it ends all the same.
    await t.insert(type, "t", 1_000);
  } while (cursor !== undefined);
  expect(calls).toBe(2);
  expect(new Set(cancelled).size).toBe(1_200);
  expect(cancelled).toEqual(expect.arrayContaining(running));
  const history = await t.rowsOf<{ outcome: string }>("background_job_history", type);
  expect(new Set(history.map(({ outcome }) => outcome))).toEqual(new Set(["CANCELLED"]));
  expect(await jobs.countMatching({ type })).toBe(2_000);
  expect(await jobs.countMatching({ type: "other" })).toBe(10);
  const { rows } = await t.database.pool.query(
    `SELECT DISTINCT actor, reason FROM evenkeel.background_audit_entry WHERE action = 'job.cancel'`,
  );
  expect(rows).toEqual([{ actor: "ada", reason: "a loop" }]);
});

test("a selection names jobs by where they stand, whose they are, when they are due and how urgent", async () => {
  await using t = await setup();
  const type = randomUUID();
  const at = (ms: number): Date => new Date(Date.now() + ms);
  const [due, later, urgent, foreign] = await t.ledger.jobs.insert(undefined, [
    newJob(type, { correlationId: "c" }),
    newJob(type, { runAt: at(3_600_000) }),
    newJob(type, { priority: 5 }),
    newJob(type, { tenantId: "other" }),
  ]);
  const { jobs } = t.ledger.asOperator("ada");
  const counts = {
    all: await jobs.countMatching({ type }),
    scheduled: await jobs.countMatching({ type, statuses: ["SCHEDULED"] }),
    tenant: await jobs.countMatching({ tenantId: "other" }),
    dueLater: await jobs.countMatching({ type, dueFrom: at(60_000) }),
    dueSoon: await jobs.countMatching({ type, dueBefore: at(60_000) }),
    urgent: await jobs.countMatching({ type, minPriority: 1 }),
    others: await jobs.countMatching({ type, maxPriority: 4 }),
    correlated: await jobs.countMatching({ correlationId: "c" }),
    old: await jobs.countMatching({ type, createdBefore: at(-60_000) }),
    young: await jobs.countMatching({ type, createdFrom: at(-60_000) }),
  };
  expect(counts).toEqual({
    all: 4,
    scheduled: 1,
    tenant: 1,
    dueLater: 1,
    dueSoon: 3,
    urgent: 1,
    others: 3,
    correlated: 1,
    old: 0,
    young: 4,
  });
  expect(await jobs.cancelMany({ tenantId: "other" })).toEqual({
    ids: [foreign?.id],
    passedOver: [],
    cursor: null,
  });
  expect([due, later, urgent].every((job) => job?.created)).toBe(true);
  for (const selection of [{}, { type: undefined as never }, { statuses: ["DEAD" as never] }]) {
    await expect(jobs.cancelMany(selection)).rejects.toMatchObject({ code: "invalid_options" });
  }
  await expect(jobs.cancelMany({ type }, { cursor: "1" })).rejects.toMatchObject({
    code: "invalid_options",
  });
});

test("what waits is moved, what runs or is locked is passed over and named", async () => {
  await using t = await setup();
  const type = randomUUID();
  await t.insert(type, "t", 5);
  const running = await t.claimFirst(type);
  const [locked] = await t.ledger.jobs.insert(undefined, [newJob(type)]);
  const tx = await t.database.pool.connect();
  await tx.query("BEGIN");
  await changeJobs(tx, "t", "product").cancel(locked?.id ?? "");
  const { jobs } = t.ledger.asOperator("ada");
  const change = await jobs.rescheduleMany({ type }, { delayMs: 3_600_000 });
  await tx.query("ROLLBACK");
  tx.release();
  expect(change.ids).toHaveLength(4);
  expect(change.passedOver).toEqual([running.id, locked?.id]);
  expect(change.cursor).toBeNull();
  expect(await jobs.countMatching({ type, statuses: ["SCHEDULED"] })).toBe(4);
  expect((await t.claim([type], 10)).jobs.map(({ id }) => id)).toEqual([locked?.id]);
});

test("a bulk change beside claims and settlements loses no job and ends none twice", async () => {
  await using t = await setup();
  const type = randomUUID();
  await t.insert(type, "t", 2_000);
  const { jobs } = t.ledger.asOperator("ada");
  let succeeded = 0;
  const work = async (): Promise<void> => {
    for (;;) {
      const { jobs: claimed } = await t.claim([type], 100);
      if (claimed.length === 0) return;
      let open = claimed.map(({ id, fence }) => ({ id, fence, kind: "succeeded" as const }));
      while (open.length > 0) {
        const { size } = await t.ledger.jobs.settle(open);
        succeeded += size;
        const standings = await t.ledger.jobs.standingOf(open);
        // Passed over while another statement had it locked.
        open = open.filter(({ id }) => standings.get(id) === "held");
      }
    }
  };
  const cancel = async (): Promise<number> => {
    const { ids } = await jobs.cancelMany({ type }, { limit: 10_000 });
    return ids.length;
  };
  const [cancelled] = await Promise.all([cancel(), work(), work()]);
  await work();
  expect(succeeded + cancelled).toBe(2_000);
  const history = await t.rowsOf<{ id: string }>("background_job_history", type);
  expect(new Set(history.map(({ id }) => id)).size).toBe(2_000);
});

test("a statement looks at the next 10,000 jobs by id and locks those that match, whatever else there is", async () => {
  await using t = await setup();
  await t.insert("a", "t", 30_000);
  await t.database.pool.query(`UPDATE evenkeel.background_job SET priority = 3 WHERE id % 100 = 0`);
  await t.database.pool.query(`VACUUM ANALYZE evenkeel.background_job`);
  const values = {
    statuses: "{PENDING}",
    type: "a",
    tenantId: null,
    correlationId: null,
    createdFrom: null,
    createdBefore: null,
    dueFrom: null,
    dueBefore: null,
    minPriority: 1,
    maxPriority: null,
    after: "10000",
    upTo: "30000",
    limit: 500,
    look: 10_000,
    actor: "ada",
    reason: null,
  };
  const due = { runAt: null, delayMs: 1 };
  const plans = [
    { statement: cancelManyStatement, given: values },
    { statement: rescheduleManyStatement, given: { ...values, ...due } },
  ];
  for (const { statement, given } of plans) {
    const { text } = statement;
    const nodes = await explainStatement(t.database, text, statement.values(given));
    const indexes = new Set(nodes.flatMap((node) => node["Index Name"] ?? []));
    expect(indexes).toEqual(new Set(["background_job_pkey"]));
    expect(Math.max(...nodes.map((node) => rowsRead(node)))).toBeLessThanOrEqual(10_100);
  }
});

test("a selection of nothing but nulls, as JSON may bring it, is refused, and a limit that is no number is the least", async () => {
  await using t = await setup();
  const type = randomUUID();
  await t.insert(type, "t", 3);
  const { jobs } = t.ledger.asOperator("ada");
  const lost: object = JSON.parse(`{"tenantId":null,"type":null}`);
  await expect(jobs.cancelMany(lost)).rejects.toMatchObject({ code: "invalid_options" });
  const change = await jobs.cancelMany({ type }, { limit: Number.NaN });
  expect(change.ids).toHaveLength(1);
  expect(await jobs.countMatching({ type })).toBe(2);
});
