import { enqueue, handleJob, TerminalError, type JobHandler } from "@evenkeel/jobs";
import type { Pool } from "pg";

import { classify, isAnswered } from "./classify.ts";
import { draftCreate, inboundProcess } from "./jobs.ts";
import { parseMail } from "./mail.ts";
import { threadOf } from "./thread.ts";
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
    await inTransaction(pool, async (tx) => {
      const { rowCount } = await tx.query(
        `UPDATE "inbox"."message" SET "class" = $3, "thread_id" = $4, "header_id" = $5,
           "references" = $6, "subject" = $7, "from_name" = $8, "from_address" = $9, "text" = $10
         WHERE "tenant_id" = $1 AND "id" = $2 AND "class" IS NULL`,
        [
          tenantId,
          messageId,
          mailClass,
          threadOf(mail, messageId),
          mail.messageId,
          mail.references,
          mail.subject,
          mail.from.name,
          mail.from.address,
          mail.text,
        ],
      );
      // An earlier attempt got this far: it asked for the draft too.
      if (rowCount === 0 || !isAnswered(mailClass)) return;
      await enqueue(tx, draftCreate, {
        tenantId,
        payload: { messageId },
        ...(correlationId === undefined ? {} : { correlationId }),
      });
    });
    return { class: mailClass };
  });
}
