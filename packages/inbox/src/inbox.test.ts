import { once } from "node:events";

import { createRunner, enqueue, type DrainReport } from "@evenkeel/jobs";
import { createLedger, type Ledger } from "@evenkeel/ledger";
import { setup, type Setup } from "@evenkeel/test-postgres/testing";
import { afterEach, beforeEach, expect, test } from "vitest";

import { readCorpus } from "./corpus.ts";
import { templateDrafter, type DraftRequest } from "./drafter.ts";
import { createInbox, type Inbox, type InboxOptions } from "./inbox.ts";
import { ingestInTransaction, type InboundMessage } from "./ingest.ts";
import { replySend } from "./jobs.ts";
import { tableMailer, type Mailer } from "./mailer.ts";
import { inTransaction } from "./transaction.ts";

let t: Setup<Ledger>;
let inbox: Inbox;
beforeEach(async () => {
  t = await setup(createLedger);
  inbox = createInbox({ pool: t.database.pool });
  await inbox.prepare();
});
afterEach(() => t.close());

/** Drains until nothing is pending, with what is scheduled made due. */
async function drainAll(options: Partial<InboxOptions> = {}): Promise<DrainReport[]> {
  const { handlers } = createInbox({ pool: t.database.pool, replyDelayMs: 0, ...options });
  const runner = createRunner({ ledger: t.ledger, handlers, owner: "test" });
  const reports: DrainReport[] = [];
  for (;;) {
    reports.push(await runner.drain({ budgetMs: 60_000 }));
    if ((await makeDue()) === 0) return reports;
  }
}

async function makeDue(): Promise<number> {
  const { rowCount } = await t.database.pool.query(
    `UPDATE "evenkeel"."background_job" SET "run_at" = date_trunc('milliseconds', now())
     WHERE "state" <> 'RUNNING'`,
  );
  return rowCount ?? 0;
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
  const counts = await t.ledger.jobs.counts();
  const { deadLetters } = await t.ledger.report();
  expect(report).toMatchObject({ messages: 300, unprocessed: 0, doubleSent: 0, inconsistent: 0 });
  expect(report).toMatchObject({ open: 0, lost: 0, deadAfterEffect: 0, dead: counts.dead });
  expect(report.sent + report.ignored + report.dead).toBe(300);
  expect(report.tenants).toBeGreaterThanOrEqual(10);
  expect(counts.dead).toBeGreaterThan(0);
  expect(deadLetters.open).toBe(counts.dead);
  expect(reports.reduce((sum, { retried }) => sum + retried, 0)).toBeGreaterThan(0);
  expect(counts).toMatchObject({ due: 0, scheduled: 0, running: 0 });
});

test("at any moment of the work, every message is answered, ignored, dead or has a job", async () => {
  await inbox.ingest(await corpus(40));
  const faults = { drafterOverloaded: 0.3, mailboxGone: 0.3 };
  const { handlers } = createInbox({ pool: t.database.pool, replyDelayMs: 0, faults });
  const runner = createRunner({ ledger: t.ledger, handlers, owner: "test", concurrency: 3 });
  for (let open = 40; open > 0;) {
    await runner.drain({ budgetMs: 60_000, maxJobs: 7 });
    await makeDue();
    const report = await inbox.report();
    const { messages, sent, ignored, dead, lost } = report;
    ({ open } = report);
    expect({ lost, total: sent + ignored + dead + open }).toEqual({ lost: 0, total: messages });
  }
});

test("a job that vanished, a second delivery and a reply without delivery would all show", async () => {
  await inbox.ingest([plain("1", "a"), plain("2", "a"), plain("3", "a")]);
  await t.database.pool.query(
    `DELETE FROM "evenkeel"."background_job" WHERE "payload" ->> 'messageId' = '1'`,
  );
  await drainAll();
  expect(await inbox.report()).toMatchObject({ sent: 2, lost: 1, doubleSent: 0, inconsistent: 0 });
  await t.database.pool.query(
    `INSERT INTO "inbox"."delivery" ("tenant_id", "message_id", "recipient", "job_id", "attempt")
     VALUES ('a', '2', 'ann@example.org', '1', 1)`,
  );
  await t.database.pool.query(`DELETE FROM "inbox"."delivery" WHERE "message_id" = '3'`);
  expect(await inbox.report()).toMatchObject({ doubleSent: 1, inconsistent: 1 });
});

test("a worker that dies between the send and the commit leaves nothing, and the next sends once", async () => {
  await inbox.ingest([plain("1", "a")]);
  let calls = 0;
  const mailer: Mailer = {
    deliver: async (tx, reply) => {
      calls += 1;
      await tableMailer.deliver(tx, reply);
      if (calls > 1) return;
      // What a SIGKILL does to the worker's connection.
      const { rows } = await tx.query<{ pid: number }>(`SELECT pg_backend_pid() AS "pid"`);
      const gone = once(tx, "error");
      await t.database.connect(1).query("SELECT pg_terminate_backend($1)", [rows[0]?.pid]);
      await gone;
    },
  };
  await drainAll({ mailer });
  const { rowCount } = await t.database.pool.query(`SELECT FROM "inbox"."delivery"`);
  expect({ calls, rowCount }).toEqual({ calls: 2, rowCount: 1 });
  expect(await inbox.report()).toMatchObject({ sent: 1, doubleSent: 0, repeatedSends: 0 });
});

test("a batch with a message that cannot be stored is refused whole", async () => {
  const good = plain("1", "a");
  for (const bad of [
    { ...good, id: "" },
    { ...good, id: "x".repeat(401) },
    { ...good, id: "nul\u0000" },
    { ...good, tenantId: "" },
    { ...good, tenantId: "x".repeat(201) },
    { ...good, raw: new Uint8Array(25 * 1024 * 1024 + 1) },
  ]) {
    const refused = inbox.ingest([good, bad]);
    await expect(refused).rejects.toMatchObject({ code: "invalid_message", data: { index: 1 } });
  }
  expect(await inbox.report()).toMatchObject({ messages: 0 });
  expect(await t.ledger.jobs.counts()).toMatchObject({ due: 0, scheduled: 0 });
  const longId = `${"y".repeat(199)}${"\u{1f4e7}".repeat(100)}z`;
  expect(await inbox.ingest([{ ...good, id: longId }])).toEqual({ stored: 1, known: 0 });
});

test("the same message given twice is stored and processed once", async () => {
  const messages = [plain("1", "a"), plain("2", "a")];
  await inbox.ingest(messages);
  expect(await inbox.ingest([...messages, plain("3", "a")])).toEqual({ stored: 1, known: 2 });
  await drainAll();
  expect(await inbox.report()).toMatchObject({ messages: 3, sent: 3, doubleSent: 0 });
});

test("an ingest that is rolled back leaves no message and no job", async () => {
  const messages = await corpus(200);
  const client = await t.database.pool.connect();
  await client.query("BEGIN");
  expect(await ingestInTransaction(client, messages)).toMatchObject({ stored: 200 });
  await client.query("ROLLBACK");
  client.release();
  expect(await inbox.report()).toMatchObject({ messages: 0 });
  expect(await t.ledger.jobs.counts()).toMatchObject({ due: 0, scheduled: 0 });
});

test("a second job for a reply that was sent sends nothing, and its attempt shows", async () => {
  await inbox.ingest([plain("1", "a")]);
  await drainAll();
  await enqueue(t.database.pool, replySend, { tenantId: "a", payload: { messageId: "1" } });
  await drainAll();
  const { rows } = await t.database.pool.query(`SELECT FROM "inbox"."delivery"`);
  expect(rows).toHaveLength(1);
  expect((await inbox.report()).doubleSent).toBe(1);
});

test("an attempt that is repeated after its effect was committed repeats no effect", async () => {
  await inbox.ingest([plain("1", "a")]);
  const [, , send] = createInbox({ pool: t.database.pool }).handlers;
  await drainAll();
  const { rows } = await t.database.pool.query<{ job_id: string }>(
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
    completeIn: () => Promise.reject(new Error("No runner holds this attempt.")),
    effects: { once: () => Promise.reject(new Error("No runner holds this attempt.")) },
    progress: () => {},
    logger: { debug() {}, info() {}, warn() {}, error() {} },
  });
  expect(again).toEqual({ sent: false });
  expect(await inbox.report()).toMatchObject({ sent: 1, doubleSent: 0, repeatedSends: 1 });
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
  const { rows } = await t.database.pool.query<{ tenant_id: string; body: string }>(
    `SELECT "tenant_id", "body" FROM "inbox"."draft" ORDER BY 1`,
  );
  expect(rows).toEqual([
    { tenant_id: "a", body: "secret of a?" },
    { tenant_id: "b", body: "secret of b?" },
  ]);
  expect(seen).toHaveLength(2);
});

test("a reply goes where the sender wants it; one to a list's member goes to that member", async () => {
  const head = "From: Ann <ann@example.org>\nReply-To: desk@example.org\nSubject: Help";
  const raw = (more: string): Uint8Array => new TextEncoder().encode(`${head}\n${more}\nHow?\n`);
  await inbox.ingest([
    { id: "1", tenantId: "a", raw: raw("Message-ID: <2@x>\nReferences: <0@x> <1@x>\n") },
    { id: "2", tenantId: "a", raw: raw("List-Id: <desk.example.org>\n") },
  ]);
  await drainAll();
  const { rows } = await t.database.pool.query(
    `SELECT "recipient", "subject", "references" FROM "inbox"."outbound" ORDER BY "message_id"`,
  );
  expect(rows).toEqual([
    { recipient: "desk@example.org", subject: "Re: Help", references: ["0@x", "1@x", "2@x"] },
    { recipient: "ann@example.org", subject: "Re: Help", references: [] },
  ]);
});

test.each([
  ["Doe, Jane", "j@x.example", "Hello Jane,"],
  ["Jane Doe", "j@x.example", "Hello Jane Doe,"],
  ["'Jane'", "j@x.example", "Hello Jane,"],
  ["", "jane@x.example", "Hello jane,"],
])("%j <%s> is greeted with %j", async (fromName, fromAddress, greeting) => {
  const text = [
    "On Monday Bob wrote:",
    "> an old line",
    "First.",
    "Second.",
    "Third.",
    "Fourth?",
    "--",
    "Jane, CEO",
  ].join("\n");
  const { body } = await templateDrafter.draft({
    tenantId: "a",
    messageId: "1",
    subject: "x",
    fromName,
    fromAddress,
    text,
    attempt: 1,
    signal: new AbortController().signal,
  });
  expect(body.split("\n")[0]).toBe(greeting);
  expect(body.match(/^>.*$/gmu)).toEqual(["> First.", "> Second.", "> Fourth?"]);
});

test("a reply greets its sender, quotes the message and stays in the thread", async () => {
  await inbox.ingest([plain("1", "a", "Can you help?\n> quoted before")]);
  await drainAll();
  const { rows } = await t.database.pool.query(
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
  const cut = inTransaction(t.database.pool, async (tx) => {
    await ingestInTransaction(tx, messages);
    const { rows } = await tx.query<{ pid: number }>(`SELECT pg_backend_pid() AS "pid"`);
    const gone = once(tx, "error");
    await t.database.connect(1).query("SELECT pg_terminate_backend($1)", [rows[0]?.pid]);
    await gone;
  });
  await expect(cut).rejects.toThrow(/connection/iu);
  expect(await inbox.report()).toMatchObject({ messages: 0 });
  expect(await inbox.ingest(messages)).toEqual({ stored: 1, known: 0 });
});

test("any number of hosts may create the tables at once", async () => {
  await t.database.pool.query(`DROP SCHEMA "inbox" CASCADE`);
  await Promise.all(Array.from({ length: 8 }, () => inbox.prepare()));
  expect(await inbox.report()).toMatchObject({ messages: 0 });
});
