import { describeIssues, tenantIdSchema } from "@evenkeel/core";
import { enqueueMany } from "@evenkeel/jobs";
import type { Pool, PoolClient } from "pg";
import { z } from "zod";

import { InboxError } from "./inbox-error.ts";
import { inboundProcess, maxMessageIdLength } from "./jobs.ts";
import { inTransaction } from "./transaction.ts";

/** A message as the mail gateway gives it. */
export interface InboundMessage {
  /** The gateway's id, 1 to 400 characters: the same message given twice is stored once. */
  readonly id: string;
  readonly tenantId: string;
  /** As received, in any charset, up to 25 MiB. */
  readonly raw: Uint8Array;
}

/** What {@link ingestInTransaction} did. */
export interface IngestResult {
  readonly stored: number;
  /** Messages that were there already. */
  readonly known: number;
}

/** What mail servers commonly take. */
const maxRawBytes = 25 * 1024 * 1024;

const inboundMessage = z.object({
  id: z
    .string()
    .min(1)
    .max(maxMessageIdLength)
    .refine((id) => id.isWellFormed() && !id.includes("\u0000"), "cannot be stored as text"),
  tenantId: tenantIdSchema,
  raw: z
    .instanceof(Uint8Array)
    .refine(({ length }) => length <= maxRawBytes, `has more than ${maxRawBytes} bytes`),
});

/**
 * Stores messages and enqueues their processing inside the caller's transaction, all or none.
 *
 * @throws InboxError `invalid_message`, before anything is written. Database errors pass through, and the
 * transaction is then to be rolled back.
 */
export async function ingestInTransaction(
  tx: PoolClient,
  messages: readonly InboundMessage[],
): Promise<IngestResult> {
  for (const [index, message] of messages.entries()) checkMessage(message, index);
  const { rows } = await tx.query<{ tenant_id: string; id: string }>(
    `INSERT INTO "inbox"."message" ("tenant_id", "id", "raw")
     SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[])
     ON CONFLICT DO NOTHING
     RETURNING "tenant_id", "id"`,
    [
      messages.map(({ tenantId }) => tenantId),
      messages.map(({ id }) => id),
      messages.map(({ raw }) => Buffer.from(raw)),
    ],
  );
  await enqueueMany(
    tx,
    inboundProcess,
    rows.map(({ tenant_id: tenantId, id }) => ({
      tenantId,
      payload: { messageId: id },
      // The end of a long id tells it from others; cutting may halve a character.
      correlationId: id.slice(-200).toWellFormed(),
    })),
  );
  return { stored: rows.length, known: messages.length - rows.length };
}

function checkMessage(message: InboundMessage, index: number): void {
  const { error } = inboundMessage.safeParse(message);
  if (error === undefined) return;
  const issues = describeIssues(error);
  throw new InboxError(
    "invalid_message",
    `Message ${index} of the batch was refused, and the batch with it: ${issues.join("; ")}`,
    { index, issues },
  );
}

/** {@link ingestInTransaction} in a transaction of its own. */
export function ingestMessages(
  pool: Pool,
  messages: readonly InboundMessage[],
): Promise<IngestResult> {
  return inTransaction(pool, (tx) => ingestInTransaction(tx, messages));
}
