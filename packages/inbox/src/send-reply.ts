import { handleJob, TerminalError, type JobHandler } from "@evenkeel/jobs";
import type { Pool } from "pg";

import { replySend } from "./jobs.ts";
import type { Mailer } from "./mailer.ts";
import { inTransaction } from "./transaction.ts";

interface DraftRow {
  readonly subject: string;
  readonly body: string;
  readonly reply_address: string;
  readonly header_id: string;
  readonly references: string[];
}

/**
 * The handler of `reply.send`. It reserves the reply under a unique constraint and delivers it in the same
 * transaction. An attempt that finds the reply reserved sends nothing and puts that on record: as its own
 * repetition, which a worker that dies before it settles makes normal, or as another job's second send.
 */
export function sendReply({
  pool,
  mailer,
}: {
  readonly pool: Pool;
  readonly mailer: Mailer;
}): JobHandler {
  return handleJob(replySend, async ({ payload, tenantId, id, attempt }) => {
    const { messageId } = payload;
    const { rows } = await pool.query<DraftRow>(
      `SELECT "draft"."subject", "draft"."body", "message"."reply_address", "message"."header_id",
         "message"."references"
       FROM "inbox"."draft" AS "draft"
       JOIN "inbox"."message" AS "message"
         ON "message"."tenant_id" = "draft"."tenant_id" AND "message"."id" = "draft"."message_id"
       WHERE "draft"."tenant_id" = $1 AND "draft"."message_id" = $2`,
      [tenantId, messageId],
    );
    const draft = rows[0];
    if (draft === undefined) throw new TerminalError(`Message ${messageId} has no draft.`);
    const reply = {
      tenantId,
      messageId,
      recipient: draft.reply_address,
      subject: draft.subject,
      body: draft.body,
      inReplyTo: draft.header_id,
      references: [...draft.references, draft.header_id].filter((header) => header !== ""),
      jobId: id,
      attempt,
    };
    return inTransaction(pool, async (tx) => {
      const reserved = await tx.query(
        `INSERT INTO "inbox"."outbound"
           ("tenant_id", "message_id", "recipient", "subject", "in_reply_to", "references", "job_id")
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING`,
        [
          tenantId,
          messageId,
          reply.recipient,
          reply.subject,
          reply.inReplyTo,
          reply.references,
          id,
        ],
      );
      if (reserved.rowCount === 1) {
        await mailer.deliver(tx, reply);
        return { sent: true };
      }
      await tx.query(
        `INSERT INTO "inbox"."double_send_attempt"
           ("tenant_id", "message_id", "job_id", "attempt", "is_same_job")
         SELECT $1, $2, $3, $4, "job_id" = $3 FROM "inbox"."outbound"
         WHERE "tenant_id" = $1 AND "message_id" = $2`,
        [tenantId, messageId, id, attempt],
      );
      return { sent: false };
    });
  });
}
