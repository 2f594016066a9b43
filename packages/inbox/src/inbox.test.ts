import { once } from "node:events";

import { createRunner, enqueue, type DrainReport } from "@evenkeel/jobs";
import { createLedger, type Ledger } from "@evenkeel/ledger";
import { createTestDatabase, type TestDatabase } from "@evenkeel/postgres/testing";
import { afterEach, beforeEach, expect, test } from "vitest";

import { readCorpus } from "./corpus.ts";
import type { DraftRequest } from "./drafter.ts";
import { createInbox, type Inbox, type InboxOptions } from "./inbox.ts";
import { ingestInTransaction, type InboundMessage } from "./ingest.ts";
import { replySend } from "./jobs.ts";
import { inTransaction } from "./transaction.ts";

let database: TestDatabase;
let ledger: Ledger;
let inbox: Inbox;
beforeEach(async () => {
  database = await createTestDatabase();
  ledger = createLedger({ pool: database.pool });
  inbox = createInbox({ pool: database.pool });
  await inbox.prepare();
});
afterEach(async () => {
  await ledger.close();
  await database.drop();
});

/** Drains until nothing is pending, with what is scheduled made due. */
async function drainAll(options: Partial<InboxOptions> = {}): Promise<DrainReport[]> {
  const { handlers } = createInbox({ pool: database.pool, replyDelayMs: 0, ...options });
  const runner = createRunner({ ledger, handlers, owner: "test" });
  const reports: DrainReport[] = [];
  for (;;) {
    reports.push(await runner.drain({ budgetMs: 60_000 }));
    const { rowCount } = await database.pool.query(
      `UPDATE "evenkeel"."background_job" SET "run_at" = now() WHERE "state" = 'PENDING'`,
    );
    if (rowCount === 0) return reports;
  }
}

async function corpus(limit: number): Promise<InboundMessage[]> {
  return Array.fromAsync(readCorpus({ limit }));
}

function plain(id: string, tenantId: string, text = "Can you help?"): InboundMessage {
  const raw = `From: Ann <ann@example.org>\nMessage-ID: <${id}@x>\nSubject: Help ${id}\n\n${text}\n`;
  return { id, tenantId, raw: new TextEncoder().encode(raw) };
}

test("real e-mails: each ends as replied, ignored or dead, and none is sent twice", async () => {
  const messages = await corpus(300);
  expect(await inbox.ingest(messages)).toEqual({ stored: 300, known: 0 });
  const reports = await drainAll({ faults: { drafterOverloaded: 0.2, mailboxGone: 0.1 } });
  const report = await inbox.report();
  const counts = await ledger.jobs.counts();
  const { deadLetters } = await ledger.report();
  expect(report).toMatchObject({ messages: 300, unprocessed: 0, doubleSent: 0, inconsistent: 0 });
  expect(report.sent + report.ignored + counts.dead).toBe(300);
  expect(counts.dead).toBeGreaterThan(0);
  expect(deadLetters.open).toBe(counts.dead);
  expect(reports.reduce((sum, { retried }) => sum + retried, 0)).toBeGreaterThan(0);
  expect(counts).toMatchObject({ due: 0, scheduled: 0, running: 0 });
});

test("the same message handed over twice is stored and processed once", async () => {
  const messages = [plain("1", "a"), plain("2", "a")];
  await inbox.ingest(messages);
  expect(await inbox.ingest([...messages, plain("3", "a")])).toEqual({ stored: 1, known: 2 });
  await drainAll();
  expect(await inbox.report()).toMatchObject({ messages: 3, sent: 3, doubleSent: 0 });
});

test("an ingest that is rolled back leaves no message and no job", async () => {
  const messages = await corpus(200);
  const client = await database.pool.connect();
  await client.query("BEGIN");
  expect(await ingestInTransaction(client, messages)).toMatchObject({ stored: 200 });
  await client.query("ROLLBACK");
  client.release();
  expect(await inbox.report()).toMatchObject({ messages: 0 });
  expect(await ledger.jobs.counts()).toMatchObject({ due: 0, scheduled: 0 });
});

test("a second job for a reply that was sent sends nothing, and its attempt shows", async () => {
  await inbox.ingest([plain("1", "a")]);
  await drainAll();
  await enqueue(database.pool, replySend, { tenantId: "a", payload: { messageId: "1" } });
  await drainAll();
  const { rows } = await database.pool.query(`SELECT FROM "inbox"."delivery"`);
  expect(rows).toHaveLength(1);
  expect((await inbox.report()).doubleSent).toBe(1);
});

test("an attempt that is repeated after its effect was committed repeats no effect", async () => {
  await inbox.ingest([plain("1", "a")]);
  const [, , send] = createInbox({ pool: database.pool }).handlers;
  await drainAll();
  const { rows } = await database.pool.query<{ job_id: string }>(
    `SELECT "job_id" FROM "inbox"."outbound"`,
  );
  const prepared = send?.prepare({ messageId: "1" });
  if (prepared?.ok !== true) throw new Error("The payload was refused.");
  const again = await prepared.run({
    id: rows[0]?.job_id ?? "",
    tenantId: "a",
    attempt: 2,
    maxAttempts: 5,
    correlationId: undefined,
    signal: new AbortController().signal,
    logger: { debug() {}, info() {}, warn() {}, error() {} },
  });
  expect(again).toEqual({ sent: false });
  expect(await inbox.report()).toMatchObject({ sent: 1, doubleSent: 0 });
});

test("two tenants with the same message id never see each other", async () => {
  const seen: DraftRequest[] = [];
  await inbox.ingest([plain("1", "a", "secret of a?"), plain("1", "b", "secret of b?")]);
  await drainAll({
    drafter: {
      draft: async (request) => {
        seen.push(request);
        return { subject: "Re", body: request.text };
      },
    },
  });
  const { rows } = await database.pool.query<{ tenant_id: string; body: string }>(
    `SELECT "tenant_id", "body" FROM "inbox"."draft" ORDER BY 1`,
  );
  expect(rows).toEqual([
    { tenant_id: "a", body: "secret of a?" },
    { tenant_id: "b", body: "secret of b?" },
  ]);
  expect(seen).toHaveLength(2);
});

test("a reply greets its sender, quotes the message and stays in the thread", async () => {
  await inbox.ingest([plain("1", "a", "Can you help?\n> quoted before")]);
  await drainAll();
  const { rows } = await database.pool.query(
    `SELECT "o"."recipient", "o"."subject", "o"."in_reply_to", "d"."body"
     FROM "inbox"."outbound" AS "o" JOIN "inbox"."draft" AS "d" USING ("tenant_id", "message_id")`,
  );
  expect(rows).toMatchObject([
    { recipient: "ann@example.org", subject: "Re: Help 1", in_reply_to: "1@x" },
  ]);
  expect(rows[0].body).toContain("Hello Ann,");
  expect(rows[0].body).toContain("> Can you help?");
  expect(rows[0].body).not.toContain("quoted before");
});

test("a connection cut between two statements of a transaction fails it, and nothing else", async () => {
  const messages = [plain("1", "a")];
  const cut = inTransaction(database.pool, async (tx) => {
    await ingestInTransaction(tx, messages);
    const { rows } = await tx.query<{ pid: number }>(`SELECT pg_backend_pid() AS "pid"`);
    const gone = once(tx, "error");
    await database.connect(1).query("SELECT pg_terminate_backend($1)", [rows[0]?.pid]);
    await gone;
  });
  await expect(cut).rejects.toThrow(/connection/iu);
  expect(await inbox.report()).toMatchObject({ messages: 0 });
  expect(await inbox.ingest(messages)).toEqual({ stored: 1, known: 0 });
});

test("any number of hosts may create the tables at once", async () => {
  await database.pool.query(`DROP SCHEMA "inbox" CASCADE`);
  await Promise.all(Array.from({ length: 8 }, () => inbox.prepare()));
  expect(await inbox.report()).toMatchObject({ messages: 0 });
});
