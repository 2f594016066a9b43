import {
  createRunner,
  defineJob,
  enqueue,
  enqueueMany,
  fixed,
  handleJob,
  parseResult,
  RetryAfterError,
  TerminalError,
  type DrainReport,
} from "@evenkeel/jobs";
import type { JobExplanation, JobRecord, Ledger } from "@evenkeel/ledger";
import { z } from "zod";

import type { PrismaClient } from "../generated/prisma/client.ts";

/** What the README's code did, for its test. Its blocks are lines of {@link runReadme}, in their order. */
export interface ReadmeOutcome {
  readonly report: DrainReport;
  readonly replies: readonly { readonly draftId: string; readonly key: string }[];
  readonly mails: readonly string[];
  readonly explained: JobExplanation | undefined;
  readonly record: JobRecord | undefined;
  readonly words: number | undefined;
  readonly repeated: boolean;
}

/** A provider that knows idempotency keys, and one that does not. */
class Provider {
  readonly replies: { draftId: string; key: string }[] = [];
  readonly mails: string[] = [];
  #isBusy = true;
  async sendReply(draftId: string, key: string): Promise<{ status: number; id: string }> {
    if (this.#isBusy) {
      this.#isBusy = false;
      return { status: 429, id: "" };
    }
    this.replies.push({ draftId, key });
    return { status: 200, id: `reply-${draftId}` };
  }
  async mail(draftId: string): Promise<void> {
    this.mails.push(draftId);
  }
}

/** Runs the code of the README against a database that has its two tables. */
export async function runReadme(prisma: PrismaClient, ledger: Ledger): Promise<ReadmeOutcome> {
  const provider = new Provider();
  const tenantId = "acme";
  class AddressRefused extends Error {}

  // Shared by those who enqueue it and those who handle it.
  const sendReply = defineJob({
    type: "reply.send",
    version: 1,
    payload: z.object({ draftId: z.string() }),
    uniqueKey: ({ draftId }) => draftId,
    retry: fixed({ maxAttempts: 8, delayMs: 30_000 }),
    isRetryable: (error) => !(error instanceof AddressRefused),
  });

  // Where the product decides: the job exists if and when this transaction commits.
  await prisma.$transaction(async (tx) => {
    await tx.$executeRaw`INSERT INTO draft (id, text) VALUES ('d-1', 'Dear …')`;
    await enqueue(tx, sendReply, { tenantId, payload: { draftId: "d-1" } });
  });

  // Where the work is done.
  const sendReplies = handleJob(sendReply, async ({ payload, effects }) => {
    const { draftId } = payload;
    const replyId = await effects.once("send", async ({ idempotencyKey }) => {
      const answer = await provider.sendReply(draftId, idempotencyKey);
      if (answer.status === 429) throw new RetryAfterError(0, "The provider is busy.");
      if (answer.status === 410) throw new TerminalError("The mailbox was closed.");
      return answer.id;
    });
    await effects.once("tell-the-author", () => provider.mail(draftId), { inDoubt: "park" });
    return { replyId };
  });

  const bookInvoice = defineJob({
    type: "invoice.book",
    version: 2,
    payload: z.object({ order: z.string(), currency: z.string() }),
    upcast: { 1: (old) => ({ ...z.object({ order: z.string() }).parse(old), currency: "EUR" }) },
    uniqueness: { states: ["PENDING", "RUNNING", "SUCCEEDED"], periodMs: 3_600_000 },
    priority: 2,
  });
  const order = { tenantId, payload: { order: "o-7", currency: "EUR" }, uniqueKey: "o-7" };
  const [first, again] = await enqueueMany(prisma, bookInvoice, [order, order]);
  // again.id === first.id, again.created === false

  const bookInvoices = handleJob(bookInvoice, async ({ payload, completeIn }) => {
    await prisma.$transaction(async (tx) => {
      await tx.$executeRaw`INSERT INTO invoice (order_id) VALUES (${payload.order})`;
      await completeIn(tx); // the invoice and the job's end, both or neither
    });
  });

  const countWords = defineJob({
    type: "words.count",
    version: 1,
    payload: z.object({ pages: z.array(z.string()) }),
    result: z.object({ words: z.number() }),
  });
  const counting = handleJob(countWords, async ({ payload: { pages }, progress }) => {
    let words = 0;
    for (const [n, page] of pages.entries()) {
      words += page.split(" ").length;
      progress(n + 1, pages.length);
    }
    return { words }; // its type is held against the schema
  });

  const { id } = await enqueue(prisma, countWords, {
    tenantId,
    payload: { pages: ["one two", "three"] },
    delayMs: 60_000,
  });
  const explained = await ledger.forTenant(tenantId).jobs.explain(id);
  // explained.summary: "It is due at 2026-11-01T08:01:00.000Z, in 60 s."
  await ledger.forTenant(tenantId).jobs.reschedule(id, new Date());

  const operator = ledger.asOperator("ada@example.com");
  await operator.queue.limit("every-tenant", { maxRunning: 20 });
  await operator.queue.limit({ tenantId }, { rate: { jobs: 600, periodMs: 60_000 } });
  await operator.queue.limit({ type: "invoice.book" }, { maxRunning: 5 });
  await operator.queue.pause({ type: "reply.send" }, { reason: "The provider is down." });
  await operator.queue.resume({ type: "reply.send" });

  const handlers = [sendReplies, bookInvoices, counting];
  const runner = createRunner({ ledger, handlers, owner: "worker-1" });
  const report = await runner.drain({ budgetMs: 20_000 });

  const record = await ledger.forTenant(tenantId).jobs.find(id);
  const words = record?.status === "SUCCEEDED" ? parseResult(countWords, record)?.words : undefined;

  const repeated = first?.id === again?.id && again?.created === false;
  const { replies, mails } = provider;
  return { report, replies, mails, explained, record, words, repeated };
}
