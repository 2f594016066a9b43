import { randomUUID } from "node:crypto";

import { afterAll, beforeAll, expect, test } from "vitest";

import { setup, type Setup } from "../testing/setup.ts";
import { changesOf, watchStatuses, type StatusChange } from "../testing/status-changes.ts";
import { effectTransitions } from "./effects.ts";
import { jobTransitions, type JobClaim, type Settlement } from "./job.ts";

let t: Setup;
beforeAll(async () => {
  t = await setup();
});
afterAll(() => t.close());

const error = { code: "x", message: "x" };
const lease = { lane: "stable", leaseMs: 30_000, owner: "o" } as const;

const endings = [
  { kind: "succeeded" },
  { kind: "retry", delayMs: 60_000, error },
  { kind: "snooze", delayMs: 60_000 },
  { kind: "released" },
  { kind: "dead", reason: "terminal", error },
  { kind: "cancelled" },
] as const;

function tomorrow(): Date {
  return new Date(Date.now() + 86_400_000);
}

/** A job of one test: its type is its own, and its last fence. */
interface Subject extends JobClaim {
  readonly type: string;
}

async function insert(type: string, delayMs = 0): Promise<string> {
  const job = { tenantId: "t", version: 1, payloadText: "{}", maxAttempts: 9 } as const;
  const jobs = [{ ...job, type, delayMs, uniqueKey: "k" }];
  const [inserted] = await t.ledger.jobs.insert(undefined, jobs);
  return inserted?.id ?? "";
}

/** Claims a job whose handler is yet to start. */
async function hold({ type, id }: { type: string; id: string }): Promise<Subject> {
  const { jobs } = await t.ledger.jobs.claim({ ...lease, types: [type], limit: 1 });
  return { type, id, fence: jobs[0]?.fence ?? "0" };
}

async function claim(job: { type: string; id: string }): Promise<Subject> {
  const held = await hold(job);
  await t.ledger.jobs.start([held]);
  return held;
}

/** Moves a job's time into the past: when it is due, or its lease. */
async function overdue(id: string, column: "run_at" | "lease_expires_at"): Promise<void> {
  await t.database.pool.query(
    `UPDATE evenkeel.background_job SET ${column} = now() - interval '1 second' WHERE id = $1`,
    [id],
  );
}

/** What a claim of another type makes available: leases of all types, and what is due of its own. */
async function claimOther(): Promise<void> {
  await t.ledger.jobs.claim({ ...lease, types: ["other"], limit: 1 });
}

/** Every way into a status, and an expired lease. */
const starts: Readonly<Record<string, (subject: Subject) => Promise<unknown>>> = {
  pending: () => Promise.resolve(),
  scheduled: ({ id }) => t.ledger.asOperator("ada").jobs.reschedule(id, tomorrow()),
  due: async ({ id }) => {
    await t.ledger.asOperator("ada").jobs.reschedule(id, tomorrow());
    await overdue(id, "run_at");
  },
  held: hold,
  "held, expired": async (subject) => {
    await hold(subject);
    await overdue(subject.id, "lease_expires_at");
  },
  running: claim,
  expired: async (subject) => {
    await claim(subject);
    await overdue(subject.id, "lease_expires_at");
  },
  ...Object.fromEntries(
    endings.map((ending) => [
      ending.kind,
      async (subject: Subject) => settle(await claim(subject), ending),
    ]),
  ),
};

async function settle(
  { id, fence }: JobClaim,
  ...endingsOfBatch: readonly (typeof endings)[number][]
): Promise<unknown> {
  const other = { id: "999999999", fence };
  const settlements = endingsOfBatch.map((ending, place): Settlement => ({
    ...(place === 0 ? { id, fence } : other),
    ...ending,
  }));
  return t.ledger.jobs.settle(settlements);
}

/** Everything that can be done to a job, by whoever may. */
const operations: readonly ((subject: Subject) => Promise<unknown>)[] = [
  ({ type }) => insert(type),
  hold,
  claim,
  claimOther,
  ({ type, ...held }) => t.ledger.jobs.claimById({ ...held, ...lease, types: [type] }),
  ({ id, fence }) => t.ledger.jobs.heartbeat([{ id, fence }], 30_000),
  (held) => t.ledger.jobs.start([held]),
  ({ id, fence }) => t.ledger.jobs.recordProgress([{ id, fence, done: 1, total: 2 }]),
  ({ id }) => t.ledger.forTenant("t").jobs.cancel(id),
  ({ id }) => t.ledger.asOperator("ada").jobs.cancel(id),
  async (subject) => {
    await t.ledger.asOperator("ada").jobs.reschedule(subject.id, new Date());
    return claim(subject);
  },
  ({ id }) => t.ledger.asOperator("ada").jobs.reschedule(id, tomorrow()),
  ({ type }) => t.ledger.asOperator("ada").queue.limit({ type }, { maxRunning: 1 }),
  ({ id }) => redrive(id),
  // The batch of nothing but successes is a statement of its own.
  (held) => settle(held, { kind: "succeeded" }, { kind: "released" }),
  ...endings.map((ending) => (held: Subject) => settle(held, ending)),
];

async function redrive(jobId: string): Promise<unknown> {
  const operator = t.ledger.asOperator("ada");
  const { deadLetter } = (await operator.jobs.explain(jobId)) ?? {};
  const job = { payload: "{}", version: 1, maxAttempts: 9 };
  return operator.deadLetters.requeue([{ id: deadLetter?.id ?? randomUUID(), job }]);
}

/** Joins each end of a row in the queue with the beginning of one in the history. */
function join(noted: readonly StatusChange[]): { begun: string[]; changes: string[] } {
  const left = new Map(
    noted.flatMap(({ id, before, after }) => (after === null ? [[id, before]] : [])),
  );
  const begun: string[] = [];
  const changes: string[] = [];
  for (const { id, before, after } of noted) {
    if (after === null) continue;
    const isMoved = before === null && !["SCHEDULED", "PENDING", "RUNNING"].includes(after);
    const from = isMoved ? left.get(id) : before;
    if (isMoved) left.delete(id);
    if (from === null) begun.push(after);
    else changes.push(`${from} --> ${after}`);
  }
  // What leaves the queue is in the history.
  expect([...left]).toEqual([]);
  return { begun, changes };
}

test("whatever is done to a job in whatever status, its status changes as the table says, and in every such way", async () => {
  const noted = await watchStatuses(t.database, [
    // A job that waits may get new fences, which void what was delegated before.
    { table: "background_job", id: "id", status: "state", repeat: "fence", repeated: "RUNNING" },
    { table: "background_job_history", id: "id", status: "outcome" },
  ]);
  for (const start of Object.values(starts)) {
    for (const operate of operations) {
      const type = randomUUID();
      const id = await insert(type);
      await start({ type, id, fence: "0" });
      const { rows } = await t.database.pool.query<{ fence: string }>(
        `SELECT fence::text FROM evenkeel.background_job WHERE id = $1`,
        [id],
      );
      await operate({ type, id, fence: rows[0]?.fence ?? "1" });
    }
  }
  const { begun, changes } = join(await noted());
  expect([...new Set(changes)].toSorted()).toEqual(changesOf(jobTransitions));
  expect(new Set(begun)).toEqual(new Set(["PENDING"]));
});

test("the queue has the statuses that others follow, and the history those that none follows", async () => {
  const { rows } = await t.database.pool.query<{ queue: string[]; history: string[] }>(
    `SELECT enum_range(NULL::evenkeel.job_state)::text[] AS queue,
       enum_range(NULL::evenkeel.job_outcome)::text[] AS history`,
  );
  const statuses = Object.entries(jobTransitions);
  expect(rows).toEqual([
    {
      queue: statuses.flatMap(([status, followers]) => (followers.length > 0 ? [status] : [])),
      history: statuses.flatMap(([status, followers]) => (followers.length > 0 ? [] : [status])),
    },
  ]);
});

test("an effect's state changes as its table says, and in every such way", async () => {
  await using own = await setup();
  const noted = await watchStatuses(own.database, [
    { table: "background_effect", id: "name", status: "state", repeat: "tries" },
  ]);
  const { jobs } = own.ledger;
  const job = { tenantId: "t", type: "a", version: 1, payloadText: "{}", maxAttempts: 9 } as const;
  await jobs.insert(undefined, [job]);
  const [held] = (await jobs.claim({ ...lease, types: ["a"], limit: 1 })).jobs;
  if (held === undefined) throw new Error("There is a job to claim.");
  const { effects } = jobs;
  for (const name of ["finished", "forgotten", "happened", "unhappened"]) {
    for (const mayRepeat of [true, false, true]) await effects.begin(held, name, mayRepeat);
  }
  for (const name of ["finished", "finished", "none"]) await effects.finish(held, name, 1);
  await effects.begin(held, "finished", true);
  for (const name of ["finished", "forgotten"]) await effects.forget(held, name);
  await jobs.settle([{ id: held.id, fence: held.fence, kind: "dead", reason: "in_doubt", error }]);
  const decide = own.ledger.asOperator("ada").effects;
  for (const happened of [true, false]) {
    for (const name of ["finished", "happened", "unhappened"]) {
      if (happened !== (name === "unhappened")) {
        await decide.resolve(held.id, name, { happened });
      }
    }
  }
  const changes = await noted();
  const kept = changes.filter(({ before, after }) => before !== null && after !== null);
  const seen = new Set(kept.map(({ before, after }) => `${before} --> ${after}`));
  expect([...seen].toSorted()).toEqual(changesOf(effectTransitions));
  const removed = changes.filter(({ after }) => after === null);
  expect(removed.map(({ id, before }) => [id, before])).toEqual([
    ["forgotten", "STARTED"],
    ["unhappened", "STARTED"],
  ]);
});
