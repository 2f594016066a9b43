import {
  createRunner,
  defineJob,
  enqueue,
  exponential,
  handleJob,
  TerminalError,
} from "@evenkeel/jobs";
import { createLedger, type Ledger } from "@evenkeel/ledger";
import { setup, type Setup } from "@evenkeel/test-postgres/testing";
import { afterEach, beforeEach, expect, test } from "vitest";
import { z } from "zod";

import { createOutboxRelay, type RelayedEvent } from "./outbox-relay.ts";
import { createRedriver, type Redriver } from "./redriver.ts";

let t: Setup<Ledger>;
let isBroken: boolean;
let redriver: Redriver;
beforeEach(async () => {
  t = await setup(createLedger);
  isBroken = true;
  redriver = createRedriver({ ledger: t.ledger, handlers: [handler] });
});
afterEach(() => t.close());

const invoice = defineJob({
  type: "invoice.send",
  version: 2,
  payload: z.object({ invoiceId: z.string() }),
  retry: exponential({ maxAttempts: 4 }),
  unique: ({ invoiceId }) => invoiceId,
});
const handler = handleJob(invoice, async () => {
  if (isBroken) throw new TerminalError("the provider said no");
});

async function enqueueInvoice(invoiceId: string, tenantId = "acme"): Promise<string> {
  return (await enqueue(t.database.pool, invoice, { tenantId, payload: { invoiceId } })).id;
}

async function drain(): Promise<void> {
  const runner = createRunner({ ledger: t.ledger, handlers: [handler], owner: "worker" });
  await runner.drain({ budgetMs: 60_000 });
}

async function die(count: number): Promise<void> {
  for (let index = 1; index <= count; index += 1) await enqueueInvoice(`i-${index}`);
  await drain();
}

const operator = (): ReturnType<Ledger["asOperator"]> => t.ledger.asOperator("ada");

test("a job comes back with fresh attempts, and what dies again has a letter that names the first", async () => {
  await die(1);
  const [first] = await operator().deadLetters.list();
  const report = await redriver.redrive({ actor: "ada", filter: {}, reason: "fixed" });
  expect(report).toEqual({ selected: 1, requeued: 1, refused: [], cancelled: false });
  expect(await operator().jobs.list({ status: "PENDING" })).toMatchObject([
    { type: "invoice.send", version: 2, attempt: 0, tenantId: "acme", uniqueKey: "i-1" },
  ]);
  await drain();
  const [second] = await operator().deadLetters.list({ status: "OPEN" });
  expect(second).toMatchObject({ previousId: first?.id, status: "OPEN" });
  expect(await operator().deadLetters.find(first?.id ?? "")).toMatchObject({
    status: "REQUEUED",
    resolvedBy: "ada",
  });
  isBroken = false;
  await redriver.redrive({ actor: "ada", filter: { ids: [second?.id ?? ""] } });
  await drain();
  expect(await t.ledger.jobs.counts()).toMatchObject({ due: 0, succeeded: 1, dead: 2 });
  expect(await operator().audit({ action: "dead_letter.requeue" })).toMatchObject([
    { actor: "ada", subjectId: second?.id, reason: null },
    {
      actor: "ada",
      subjectId: first?.id,
      tenantId: "acme",
      before: { status: "OPEN" },
      after: { status: "REQUEUED" },
      reason: "fixed",
    },
  ]);
});

test("a letter of an older version is taken to today's before it is judged and requeued", async () => {
  await die(2);
  await t.database.pool.query(
    `UPDATE "evenkeel"."background_dead_letter" SET "payload" = '{}' WHERE "payload"->>'invoiceId' = 'i-2'`,
  );
  const payload = z.object({ invoice: z.object({ id: z.string() }) });
  const upcast = {
    2: (old: unknown) => ({ invoice: { id: invoice.payload.parse(old).invoiceId } }),
  };
  const newer = defineJob({ type: "invoice.send", version: 3, payload, upcast });
  const seen: unknown[] = [];
  const handlers = [handleJob(newer, async (job) => seen.push(job.payload))];
  const report = await createRedriver({ ledger: t.ledger, handlers }).redrive({
    actor: "ada",
    filter: {},
  });
  expect(report).toMatchObject({
    requeued: 1,
    refused: [{ reason: expect.stringContaining("the upcast from version 2 failed") }],
  });
  expect(await operator().jobs.list({ status: "PENDING" })).toMatchObject([
    { version: 3, payload: { invoice: { id: "i-1" } } },
  ]);
  await createRunner({ ledger: t.ledger, handlers, owner: "worker" }).drain({ budgetMs: 60_000 });
  expect(seen).toEqual([{ invoice: { id: "i-1" } }]);
});

test("many operators at once requeue each letter once", async () => {
  await die(30);
  const reports = await Promise.all(
    ["ada", "bob", "cleo"].map((actor) => redriver.redrive({ actor, filter: {} })),
  );
  expect(reports.reduce((sum, { requeued }) => sum + requeued, 0)).toBe(30);
  expect(await t.ledger.jobs.counts()).toMatchObject({ due: 30 });
  expect(await operator().audit({ action: "dead_letter.requeue", limit: 200 })).toHaveLength(30);
});

test("a dry run says what would be done, and does nothing", async () => {
  await die(3);
  await t.database.pool.query(
    `UPDATE "evenkeel"."background_dead_letter" SET "payload" = '{"no":"invoice"}'
     WHERE "payload"->>'invoiceId' = 'i-2'`,
  );
  const dry = await redriver.redrive({ actor: "ada", filter: {}, dryRun: true });
  expect(dry).toMatchObject({ selected: 3, requeued: 2, cancelled: false });
  expect(await t.ledger.jobs.counts()).toMatchObject({ due: 0 });
  expect(await operator().audit()).toEqual([]);
  const real = await redriver.redrive({ actor: "ada", filter: {} });
  expect(real).toEqual(dry);
  expect(real.refused).toMatchObject([{ name: "invoice.send" }]);
  expect(real.refused[0]?.reason).toMatch(/invoiceId/u);
  expect(await operator().deadLetters.list({ status: "OPEN" })).toHaveLength(1);
});

test("work of a type that this build does not know, or that is queued already, stays open", async () => {
  await die(2);
  isBroken = false;
  await enqueueInvoice("i-1");
  await t.database.pool.query(
    `UPDATE "evenkeel"."background_dead_letter" SET "name" = 'gone' WHERE "payload"->>'invoiceId' = 'i-2'`,
  );
  const { refused, requeued } = await redriver.redrive({ actor: "ada", filter: {} });
  expect(requeued).toBe(0);
  expect(refused.map(({ reason }) => reason).toSorted()).toEqual([
    "it is no longer open, its work is queued already, or a newer build wrote its payload",
    "this build knows no job of this type",
  ]);
  expect(await operator().deadLetters.list({ status: "OPEN" })).toHaveLength(2);
});

test("a payload that a newer build wrote is left to that build, and one letter is one job", async () => {
  await die(2);
  await t.database.pool.query(
    `UPDATE "evenkeel"."background_job_history" SET "version" = 3 WHERE "payload"->>'invoiceId' = 'i-1'`,
  );
  expect(await redriver.redrive({ actor: "ada", filter: {} })).toMatchObject({ requeued: 1 });
  await t.ledger.deadLetters.file({
    kind: "JOB",
    sourceId: "999",
    name: "invoice.send",
    reason: "terminal",
    error: "no",
    payload: { invoiceId: "i-3" },
    tenantId: "acme",
  });
  const [letter] = await operator().deadLetters.list({ status: "OPEN" });
  const item = { id: letter?.id ?? "", job: { payload: "{}", version: 2, maxAttempts: 1 } };
  expect(await operator().deadLetters.requeue([item, item])).toEqual([letter?.id]);
  expect(await t.ledger.jobs.counts()).toMatchObject({ due: 2 });
});

test("a rate of 0 is refused, and so is an event that is the server's own", async () => {
  await t.ledger.deadLetters.file({
    kind: "RUN",
    sourceId: "run-1",
    name: "f",
    reason: "exhausted",
    error: "no",
    payload: { name: "inngest/scheduled.timer", data: {} },
  });
  await expect(redriver.redrive({ actor: "ada", filter: {}, perSecond: 0 })).rejects.toMatchObject({
    code: "invalid_params",
  });
  expect(await redriver.redrive({ actor: "ada", filter: {} })).toMatchObject({
    requeued: 0,
    refused: [{ reason: "the letter holds no event to send again" }],
  });
});

test("a redrive that is cancelled leaves the rest open, at the rate it was given", async () => {
  await die(5);
  const cancelling = new AbortController();
  const { ledger: watched } = {
    ledger: {
      asOperator: (actor: string) => {
        const real = t.ledger.asOperator(actor);
        const requeue: typeof real.deadLetters.requeue = async (items, reason) => {
          expect(items.length).toBeLessThanOrEqual(2);
          cancelling.abort();
          return real.deadLetters.requeue(items, reason);
        };
        return { ...real, deadLetters: { ...real.deadLetters, requeue } };
      },
    },
  };
  const slow = createRedriver({ ledger: watched, handlers: [handler] });
  const { signal } = cancelling;
  const report = await slow.redrive({ actor: "ada", filter: {}, perSecond: 2, signal });
  expect(report).toMatchObject({ requeued: 2, cancelled: true });
  expect(await operator().deadLetters.list({ status: "OPEN" })).toHaveLength(3);
});

test("filters choose, and a discard is on record with its reason", async () => {
  await die(2);
  await enqueueInvoice("i-9", "bolt");
  await drain();
  const discarded = await operator().deadLetters.discard(
    { tenantId: "bolt" },
    { reason: "the customer left" },
  );
  expect(discarded).toHaveLength(1);
  expect(await operator().audit({ action: "dead_letter.discard" })).toMatchObject([
    { tenantId: "bolt", reason: "the customer left", after: { status: "DISCARDED" } },
  ]);
  const { requeued } = await redriver.redrive({ actor: "ada", filter: { tenantId: "bolt" } });
  expect(requeued).toBe(0);
  const wrongReason = { filter: { reason: "timeout" as const }, actor: "ada", dryRun: true };
  expect(await redriver.redrive(wrongReason)).toMatchObject({ selected: 0 });
  expect(await operator().deadLetters.list({ status: "OPEN" })).toHaveLength(2);
});

test("a run's event is sent again by the relay, under an id that Inngest does not remember", async () => {
  const event = { id: "event-1", name: "background/process.requested", data: { dispatchKey: "k" } };
  const { id } = await t.ledger.deadLetters.file({
    kind: "RUN",
    sourceId: "run-1",
    name: "app-process-background-jobs",
    reason: "exhausted",
    error: "no",
    payload: event,
  });
  expect(await redriver.redrive({ actor: "ada", filter: { kind: "RUN" } })).toMatchObject({
    requeued: 1,
  });
  const sent: RelayedEvent[] = [];
  const send = async (events: readonly RelayedEvent[]): Promise<void> => void sent.push(...events);
  await createOutboxRelay({ ledger: t.ledger, send, owner: "host" }).run();
  expect(sent).toMatchObject([{ id: `event-1:d:${id}`, name: event.name, data: event.data }]);
  // Inngest tells of the old run's failure once more: it has its letter.
  const again = {
    kind: "RUN",
    sourceId: "run-1",
    name: "f",
    reason: "exhausted",
    error: "no",
  } as const;
  expect(await t.ledger.deadLetters.file(again)).toEqual({ id, created: false });
});

test("an event that the server refused waits to be sent again, and a second refusal is linked", async () => {
  await t.ledger.outbox.add(t.database.pool, { id: "e-1", name: "a", data: {} });
  const refuse = async (): Promise<void> => {
    const fence = crypto.randomUUID();
    await t.ledger.outbox.lease({ fence, owner: "h", leaseMs: 1_000 });
    const [event] = await t.ledger.outbox.read({ fence, leaseMs: 1_000, limit: 1 });
    const refused = [{ place: event?.place ?? "", error: "400" }];
    await t.ledger.outbox.settle({ fence, sent: [], refused, release: true });
  };
  await refuse();
  const [first] = await operator().deadLetters.list({ kind: "EVENT" });
  await redriver.redrive({ actor: "ada", filter: {} });
  expect(await t.ledger.outbox.backlog()).toMatchObject({ pending: 1, refused: 0 });
  await refuse();
  expect(await operator().deadLetters.list({ status: "OPEN" })).toMatchObject([
    { kind: "EVENT", sourceId: "e-1", previousId: first?.id },
  ]);
});
