import { expect, test } from "vitest";

import { TerminalError } from "../definition/attempt-error.ts";
import { handleJob } from "../definition/job-handler.ts";
import { enqueue } from "../enqueue.ts";
import { countJob } from "../testing/count-job.ts";
import { setup, type Setup } from "../testing/setup.ts";
import { createRunner } from "./runner.ts";

async function add(t: Setup, n: number, delayMs?: number): Promise<string> {
  const delay = delayMs === undefined ? {} : { delayMs };
  const { id } = await enqueue(t.database.pool, countJob, {
    tenantId: "t",
    payload: { n },
    ...delay,
  });
  return id;
}

const claim = {
  lane: "stable",
  types: ["count"],
  limit: 1,
  leaseMs: 30_000,
  owner: "w-1",
} as const;

/** Puts on record that a drain with a handler came so many minutes ago. */
async function note(t: Setup, type: string, version: number, minutesAgo = 0): Promise<void> {
  await t.database.pool.query(
    `INSERT INTO evenkeel.background_job_handler (type, version, owner, seen_at)
     VALUES ($1, $2, 'w', now() - $3::int * interval '1 minute')
     ON CONFLICT (type, version) DO UPDATE SET seen_at = EXCLUDED.seen_at`,
    [type, version, minutesAgo],
  );
}

test("a due job that no drain has come for says so, since when, and what to do", async () => {
  await using t = await setup();
  const { jobs } = t.ledger.asOperator("night");
  const id = await add(t, 1);
  const never = await jobs.explain(id);
  expect(never).toMatchObject({ cause: "unserved", lastServedAt: null });
  expect(never?.summary).toMatch(
    /no drain with a handler for count has ever come\. Start a host .+, and see that its drains run\.$/u,
  );
  await note(t, "count", 1, 70);
  const absent = await jobs.explain(id);
  expect(absent).toMatchObject({ cause: "unserved", lastServedAt: expect.any(Date) });
  expect(absent?.summary).toMatch(/version 1 of count has come for an hour \(since \S+Z\)/u);
  for (const [minutes, words] of [
    [12, "12 minutes"],
    [300, "5 hours"],
    [5_000, "3 days"],
  ] as const) {
    await note(t, "count", 1, minutes);
    expect((await jobs.explain(id))?.summary).toContain(`has come for ${words} (`);
  }
  // Hosts of the release before do not know its version.
  await t.database.pool.query(`UPDATE evenkeel.background_job SET version = 2`);
  await note(t, "count", 1);
  const newer = await jobs.explain(id);
  expect(newer?.summary).toContain("the newest that drains know is 1. Deploy the hosts");
  await note(t, "count", 3);
  expect(await jobs.explain(id)).toMatchObject({ cause: "waiting" });
  // A tenant is not told which drains come.
  await note(t, "count", 3, 70);
  const mine = await t.ledger.forTenant("t").jobs.explain(id);
  expect(mine).toMatchObject({ cause: "waiting", lastServedAt: null });
  // A job whose worker died, too.
  await note(t, "count", 3, 0);
  await t.ledger.jobs.claim(claim);
  await t.expireLeases();
  await t.database.pool.query(`DELETE FROM evenkeel.background_job_handler`);
  expect((await jobs.explain(id))?.summary).toContain("nobody takes it over, as no drain");
});

test("each state of a job is told apart, in words and in fields", async () => {
  await using t = await setup();
  const { jobs } = t.ledger.asOperator("night");
  const first = await add(t, 1);
  const second = await add(t, 2);
  const later = await add(t, 3, 3_600_000);
  await note(t, "count", 1);
  expect(await jobs.explain(second)).toMatchObject({
    cause: "waiting",
    ahead: 1,
    lease: null,
    summary: expect.stringContaining("1 due jobs of its tenant are ahead of it"),
  });
  expect(await jobs.explain(second, { types: ["other"] })).toMatchObject({ cause: "unknown_type" });
  const scheduled = await jobs.explain(later);
  expect(scheduled).toMatchObject({ cause: "scheduled", ahead: 0 });
  expect(scheduled?.dueInMs).toBeGreaterThan(3_000_000);

  const claimed = await t.ledger.jobs.claim(claim);
  expect(await jobs.explain(first)).toMatchObject({
    cause: "running",
    attempt: 0,
    summary: expect.stringContaining("w-1 holds it and has not started it"),
  });
  await t.ledger.jobs.start(claimed.jobs);
  expect(await jobs.explain(first)).toMatchObject({
    cause: "running",
    attempt: 1,
    lease: { owner: "w-1" },
    summary: expect.stringContaining("w-1 runs it, attempt 1"),
  });
  await t.expireLeases();
  expect(await jobs.explain(first)).toMatchObject({ cause: "lease_expired" });

  const handler = handleJob(countJob, async ({ payload }) => {
    if (payload.n === 2) throw new TerminalError("no such mailbox");
  });
  const runner = createRunner({ ledger: t.ledger, handlers: [handler], owner: "w-2" });
  await runner.drain({ budgetMs: 60_000 });
  expect(await jobs.explain(first)).toMatchObject({ cause: "succeeded", attempt: 2 });
  expect(await jobs.explain(second)).toMatchObject({
    cause: "dead",
    lastErrorCode: "job_terminal",
    deadLetter: { reason: "terminal", status: "OPEN" },
    summary: expect.stringMatching(/dead letter \S+ \(terminal\) is OPEN/u),
  });
  await jobs.cancel(later);
  expect(await jobs.explain(later)).toMatchObject({ cause: "cancelled" });
  expect(await jobs.explain("999999")).toBeUndefined();
  expect(await jobs.explain("no id")).toBeUndefined();
});

test("of a job whose lease expired it is told who takes it over, and what keeps others from it", async () => {
  await using t = await setup();
  const { jobs } = t.ledger.asOperator("night");
  const operator = t.ledger.asOperator("night").queue;
  const id = await add(t, 1);
  await t.ledger.jobs.claim(claim);
  await t.expireLeases();
  const summary = (text: string): unknown => expect.stringContaining(text);
  expect(await jobs.explain(id, { types: ["count"] })).toMatchObject({
    cause: "lease_expired",
    heldBy: null,
    summary: summary("the next claim takes it over"),
  });
  expect(await jobs.explain(id, { types: ["other"] })).toMatchObject({
    cause: "lease_expired",
    summary: summary("no handler here knows jobs of type count"),
  });
  await operator.limit({ type: "count" }, { maxRunning: 1 });
  expect(await jobs.explain(id)).toMatchObject({ heldBy: null });
  await operator.pause({ tenantId: "t" }, { reason: "an incident" });
  expect(await jobs.explain(id)).toMatchObject({
    cause: "lease_expired",
    heldBy: { kind: "TENANT", pausedBy: "night" },
    summary: summary("nobody takes it over while tenant t is paused since"),
  });
  expect((await t.ledger.jobs.claim(claim)).jobs).toEqual([]);
});

test("a failed attempt shows while the next is awaited", async () => {
  await using t = await setup();
  const id = await add(t, 1);
  const handler = handleJob(countJob, async () => {
    throw Object.assign(new Error("refused"), { code: "ECONNREFUSED" });
  });
  const runner = createRunner({
    ledger: t.ledger,
    handlers: [handler],
    owner: "w",
    random: () => 0.9,
  });
  await runner.drain({ budgetMs: 60_000, maxJobs: 1 });
  expect(await t.ledger.asOperator("ops").jobs.explain(id)).toMatchObject({
    lastErrorCode: "ECONNREFUSED",
    summary: expect.stringContaining("Attempt 1 failed with ECONNREFUSED."),
  });
});

test("a waiting job can be due at another time, on record; one that runs cannot", async () => {
  await using t = await setup();
  const operator = t.ledger.asOperator("ada");
  const { jobs } = operator;
  const id = await add(t, 1, 3_600_000);
  await note(t, "count", 1);
  expect(await jobs.reschedule(id, new Date(Date.now() - 1_000))).toEqual({
    rescheduled: true,
    id,
    status: "SCHEDULED",
  });
  expect(await jobs.explain(id)).toMatchObject({ cause: "waiting" });
  expect(await operator.audit({ action: "job.reschedule" })).toMatchObject([
    { actor: "ada", subjectId: id, tenantId: "t", before: { runAt: expect.any(String) } },
  ]);
  await t.ledger.jobs.claim(claim);
  expect(await jobs.reschedule(id, new Date())).toEqual({
    rescheduled: false,
    id,
    status: "RUNNING",
  });
  expect(await jobs.reschedule("999999", new Date())).toEqual({ rescheduled: false });
});

test("what throttles a due job is named: a pause, a cap, a rate", async () => {
  await using t = await setup();
  const { jobs } = t.ledger.asOperator("night");
  const operator = t.ledger.asOperator("night").queue;
  const running = await add(t, 1);
  const id = await add(t, 2);
  await operator.pause("queue", { reason: "an incident" });
  expect(await jobs.explain(id)).toMatchObject({
    cause: "paused",
    heldBy: { kind: "QUEUE", pausedBy: "night", pauseReason: "an incident" },
    summary: expect.stringMatching(/the queue is paused since .* by night: an incident/u),
  });
  await operator.resume("queue");
  await operator.pause({ type: "count" });
  await operator.pause({ tenantId: "t" });
  expect(await jobs.explain(id)).toMatchObject({ heldBy: { kind: "TYPE", subject: "count" } });
  await operator.resume({ type: "count" });
  expect(await jobs.explain(id)).toMatchObject({ heldBy: { kind: "TENANT", subject: "t" } });
  await operator.resume({ tenantId: "t" });
  await note(t, "count", 1);
  expect(await jobs.explain(id)).toMatchObject({ cause: "waiting", heldBy: null });

  await operator.limit("every-tenant", { maxRunning: 1 });
  const claimed = await t.ledger.jobs.claim({ ...claim, limit: 5 });
  expect(claimed.jobs.map((job) => job.id)).toEqual([running]);
  expect(await jobs.explain(id)).toMatchObject({
    cause: "capped",
    heldBy: { kind: "TENANT", subject: "t", maxRunning: 1 },
    summary: expect.stringContaining("tenant t may run 1 jobs at a time"),
  });
  await operator.limit("every-tenant", { maxRunning: null });
  await operator.limit({ type: "count" }, { maxRunning: 1 });
  expect(await t.ledger.asOperator("night").jobs.explain(id)).toMatchObject({
    cause: "capped",
    heldBy: { kind: "TYPE", subject: "count" },
  });
  await operator.limit({ type: "count" }, { maxRunning: null });
  await operator.limit({ tenantId: "t" }, { rate: { jobs: 1, periodMs: 3_600_000 } });
  await add(t, 3);
  expect((await t.ledger.jobs.claim(claim)).jobs).toHaveLength(1);
  expect(await jobs.explain(await add(t, 4))).toMatchObject({
    cause: "rate_limited",
    heldBy: { kind: "TENANT", rate: { jobs: 1, periodMs: 3_600_000 } },
  });
});
