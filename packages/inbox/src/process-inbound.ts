import { defined } from "@evenkeel/core";
import { enqueue, handleJob, TerminalError, type JobHandler } from "@evenkeel/jobs";
import type { Pool } from "pg";

import { classify, isAnswered } from "./classify.ts";
import { draftCreate, inboundProcess } from "./jobs.ts";
import { parseMail } from "./mail.ts";
import { linkThread, threadLinks } from "./thread.ts";
import { inTransaction } from "./transaction.ts";

/** The handler of `inbound.process`. The result and the next job commit together. */
export function processInbound({ pool }: { readonly pool: Pool }): JobHandler {
  return handleJob(inboundProcess, async ({ payload, tenantId, correlationId }) => {
    const { messageId } = payload;
    const { rows } = await pool.query<{ raw: Buffer }>(
      `SELECT "raw" FROM "inbox"."message" WHERE "tenant_id" = $1 AND "id" = $2`,
      [tenantId, messageId],
    );
    const raw = rows[0]?.raw;
    if (raw === undefined) throw new TerminalError(`Message ${messageId} does not exist.`);
    const mail = await parseMail(raw);
    const mailClass = classify(mail);
    const links = threadLinks(mail, messageId);
    // What goes to a list's address reaches everyone on it.
    const replyAddress =
      mailClass === "list" || mail.replyTo === "" ? mail.from.address : mail.replyTo;
    await inTransaction(pool, async (tx) => {
      const { rowCount } = await tx.query(
        `UPDATE "inbox"."message" SET "class" = $3, "thread_link" = $4, "header_id" = $5,
           "references" = $6, "subject" = $7, "from_name" = $8, "from_address" = $9,
           "reply_address" = $10, "text" = $11
         WHERE "tenant_id" = $1 AND "id" = $2 AND "class" IS NULL`,
        [
          tenantId,
          messageId,
          mailClass,
          links[0],
          mail.messageId,
          mail.references,
          mail.subject,
          mail.from.name,
          mail.from.address,
          replyAddress,
          mail.text,
        ],
      );
      // An earlier attempt got this far, and did the rest too.
      if (rowCount === 0) return;
      if (isAnswered(mailClass)) {
        await enqueue(tx, draftCreate, {
          tenantId,
          payload: { messageId },
          ...defined({ correlationId }),
        });
      }
      await linkThread(tx, { tenantId, links });
    });
    return { class: mailClass };
  });
}
