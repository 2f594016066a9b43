import { defined } from "@evenkeel/core";
import { enqueue, handleJob, TerminalError, type JobHandler } from "@evenkeel/jobs";
import type { Pool } from "pg";

import type { Drafter } from "./drafter.ts";
import { draftCreate, replySend } from "./jobs.ts";
import { inTransaction } from "./transaction.ts";

/** What the draft's handler works with. */
export interface CreateDraftOptions {
  readonly pool: Pool;
  readonly drafter: Drafter;
  /** How long a reply waits before it is sent, in milliseconds. */
  readonly replyDelayMs: number;
}

interface MessageRow {
  readonly subject: string;
  readonly from_name: string;
  readonly from_address: string;
  readonly text: string;
}

/** The handler of `draft.create`. The draft and the job that sends it commit together. */
export function createDraft({ pool, drafter, replyDelayMs }: CreateDraftOptions): JobHandler {
  return handleJob(draftCreate, async ({ payload, tenantId, attempt, signal, correlationId }) => {
    const { messageId } = payload;
    const { rows } = await pool.query<MessageRow>(
      `SELECT "subject", "from_name", "from_address", "text" FROM "inbox"."message"
       WHERE "tenant_id" = $1 AND "id" = $2 AND "class" IS NOT NULL`,
      [tenantId, messageId],
    );
    const message = rows[0];
    if (message === undefined) throw new TerminalError(`Message ${messageId} is not processed.`);
    const draft = await drafter.draft({
      tenantId,
      messageId,
      subject: message.subject,
      fromName: message.from_name,
      fromAddress: message.from_address,
      text: message.text,
      attempt,
      signal,
    });
    await inTransaction(pool, async (tx) => {
      const { rowCount } = await tx.query(
        `INSERT INTO "inbox"."draft" ("tenant_id", "message_id", "subject", "body")
         VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
        [tenantId, messageId, draft.subject, draft.body],
      );
      if (rowCount === 0) return;
      await enqueue(tx, replySend, {
        tenantId,
        payload: { messageId },
        delayMs: replyDelayMs,
        ...defined({ correlationId }),
      });
    });
  });
}
