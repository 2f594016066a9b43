import { expect, test } from "vitest";

import { type Ledger } from "./ledger.ts";
import { claimRequest, newJob } from "./testing/job-queue.ts";
import { setup, type Setup } from "./testing/setup.ts";

/** What no tenant is told: a worker, a host, an operator, an operator's reason, a place in the code, a machine. */
const secrets = [
  "worker-7",
  "host-9",
  "ada@example.com",
  "a quarrel",
  "at secret.ts:1",
  "10.0.0.1",
];

const dispatchKey = "s|v1|tenant:acme|60|2026-01-01T00:00:00.000Z";
const run = { runId: "r", functionId: "f" };

interface Made {
  readonly waiting: string;
  readonly running: string;
  readonly ended: string;
  readonly letters: readonly string[];
}

/** Makes one thing of every kind, with everything in it that a tenant must not see. */
async function make(t: Setup): Promise<Made> {
  const operator = t.ledger.asOperator("ada@example.com");
  const job = newJob("mail", { tenantId: "acme" });
  const owner = "worker-7";
  const [ended] = await t.ledger.jobs.insert(undefined, [job]);
  await t.ledger.jobs.start((await t.ledger.jobs.claim(claimRequest(["mail"], 1, { owner }))).jobs);
  await t.database.pool.query(
    `UPDATE evenkeel.background_job SET lease_expires_at = now() - interval '1 second'`,
  );
  const [again] = (await t.ledger.jobs.claim(claimRequest(["mail"], 1, { owner }))).jobs;
  await t.ledger.jobs.start(again === undefined ? [] : [again]);
  if (again === undefined || ended === undefined) throw new Error("Nothing was claimed.");
  const error = { code: "refused", message: "The mailbox is full.", stack: "at secret.ts:1" };
  await t.ledger.jobs.settle([{ ...again, kind: "dead", reason: "terminal", error }]);
  const [running] = await t.ledger.jobs.insert(undefined, [job]);
  await t.ledger.jobs.start((await t.ledger.jobs.claim(claimRequest(["mail"], 1, { owner }))).jobs);
  const [waiting] = await t.ledger.jobs.insert(undefined, [job]);
  await operator.queue.pause({ tenantId: "acme" }, { reason: "a quarrel" });

  await t.ledger.windows.claim({
    dispatchKey,
    schedule: "s",
    scope: "tenant:acme",
    tenantId: "acme",
    windowStart: new Date("2026-01-01T00:00:00Z"),
    windowSeconds: 60,
    lane: "stable",
    owner: "host-9",
    correlationId: "c",
    leaseMs: 60_000,
  });
  await t.database.pool.query(
    `UPDATE evenkeel.background_dispatch_window SET last_error = 'connect ECONNREFUSED 10.0.0.1'`,
  );
  const eventName = "background/process.requested";
  const begun = { ...run, eventName, dispatchKey, tenantId: "acme", owner, attempt: 0 };
  await t.ledger.runs.begin(begun);
  await t.ledger.runs.finishAttempt({ ...run, attempt: 0, error: "The provider is down." });
  const letter = await t.ledger.deadLetters.file({
    kind: "RUN",
    sourceId: "r",
    name: "f",
    reason: "exhausted",
    error: "The provider is down.",
    history: [
      { attempt: 0, owner, error: "The provider is down.", stack: "at secret.ts:1" },
      "host-9",
    ],
    tenantId: "acme",
  });
  await operator.deadLetters.discard({ ids: [letter.id] }, { reason: "a quarrel" });
  const letters = (await operator.deadLetters.list()).map(({ id }) => id);
  return { waiting: waiting?.id ?? "", running: running?.id ?? "", ended: ended.id, letters };
}

/** Every read that both a tenant and an operator have. */
async function readAll(
  {
    jobs,
    runs,
    deadLetters,
  }: Pick<ReturnType<Ledger["asOperator"]>, "jobs" | "runs" | "deadLetters">,
  made: Made,
): Promise<unknown[]> {
  const ids = [made.waiting, made.running, made.ended];
  return Promise.all([
    ...ids.map(async (id) => jobs.find(id)),
    ...ids.map(async (id) => jobs.explain(id)),
    jobs.list(),
    runs.find(run),
    runs.list(),
    ...made.letters.map(async (id) => deadLetters.find(id)),
    deadLetters.list(),
  ]);
}

test.each([true, false])(
  "no read of a tenant names workers, operators or places in the code (row-level security: %s)",
  async (isEnforced) => {
    await using t = await setup();
    if (!isEnforced) await dropPolicies(t);
    const made = await make(t);
    // An operator sees them all: the test would notice if there were nothing to hide.
    const operators = JSON.stringify([
      await readAll(t.ledger.asOperator("ada@example.com"), made),
      await t.ledger.receipt(dispatchKey),
    ]);
    expect(secrets.filter((secret) => !operators.includes(secret))).toEqual([]);

    const mine = t.ledger.forTenant("acme");
    const answers = await Promise.all([
      ...[made.waiting, made.running, made.ended].flatMap((id) => [
        mine.jobs.find(id),
        mine.jobs.explain(id),
        mine.effects.list(id),
      ]),
      mine.jobs.list(),
      mine.runs.find(run),
      mine.runs.list(),
      ...made.letters.map(async (id) => mine.deadLetters.find(id)),
      mine.deadLetters.list(),
      mine.receipt(dispatchKey),
    ]);
    expect(answers).not.toContain(undefined);
    const seen = JSON.stringify(answers);
    expect(secrets.filter((secret) => seen.includes(secret))).toEqual([]);
  },
);

test("a tenant is told what keeps its job waiting, that it runs, and why it failed", async () => {
  await using t = await setup();
  const { waiting, running, ended, letters } = await make(t);
  const mine = t.ledger.forTenant("acme");
  const { jobs, deadLetters, runs } = mine;
  const explained = await jobs.explain(waiting);
  expect(explained).toMatchObject({ cause: "paused", heldBy: { kind: "TENANT", subject: "acme" } });
  expect(explained?.summary).toMatch(/and tenant acme is paused since \S+; 0 due jobs/u);
  expect(await jobs.explain(running)).toMatchObject({
    cause: "running",
    lease: { until: expect.any(Date) },
    summary: expect.stringMatching(/^A worker runs it, attempt 1, under a lease until /u),
  });
  const errors = [
    {
      attempt: 1,
      at: expect.any(String),
      code: "lease_expired",
      message: "Its worker stopped renewing its lease.",
    },
    { attempt: 2, at: expect.any(String), code: "refused", message: "The mailbox is full." },
  ];
  expect((await jobs.find(ended))?.errors).toEqual(errors);
  const found = await Promise.all(letters.map(async (id) => deadLetters.find(id)));
  expect(found.find((letter) => letter?.kind === "JOB")).toMatchObject({ history: errors });
  expect(found.find((letter) => letter?.kind === "RUN")).toMatchObject({
    status: "DISCARDED",
    history: [{ attempt: 0, error: "The provider is down." }, {}],
  });
  expect((await runs.list())[0]?.attempts).toEqual([
    { attempt: 0, error: "The provider is down." },
  ]);
  expect((await mine.receipt(dispatchKey))?.window).toMatchObject({ status: "DISPATCHING" });
});

async function dropPolicies(t: Setup): Promise<void> {
  await t.database.pool.query(`
    DO $$
    DECLARE name text;
    BEGIN
      FOR name IN SELECT tablename FROM pg_policies WHERE schemaname = 'evenkeel' AND policyname = 'one_tenant' LOOP
        EXECUTE format('DROP POLICY one_tenant ON evenkeel.%I', name);
        EXECUTE format('ALTER TABLE evenkeel.%I DISABLE ROW LEVEL SECURITY', name);
      END LOOP;
    END $$`);
}
