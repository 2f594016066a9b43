import { enqueueMany } from "@evenkeel/jobs";
import type { Pool, PoolClient } from "pg";

import { inboundProcess } from "./jobs.ts";
import { inTransaction } from "./transaction.ts";

/** A message as the mail gateway hands it over. */
export interface InboundMessage {
  /** The gateway's id: the same message handed over twice is stored once. */
  readonly id: string;
  readonly tenantId: string;
  /** As received, in any charset. */
  readonly raw: Uint8Array;
}

/** What {@link ingestMessages} did. */
export interface IngestResult {
  readonly stored: number;
  /** Messages that were there already. */
  readonly known: number;
}

/** Stores messages and enqueues their processing inside the caller's transaction, all or none. */
export async function ingestInTransaction(
  tx: PoolClient,
  messages: readonly InboundMessage[],
): Promise<IngestResult> {
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
      correlationId: id.slice(-200),
    })),
  );
  return { stored: rows.length, known: messages.length - rows.length };
}

/** {@link ingestInTransaction} in a transaction of its own. */
export function ingestMessages(
  pool: Pool,
  messages: readonly InboundMessage[],
): Promise<IngestResult> {
  return inTransaction(pool, (tx) => ingestInTransaction(tx, messages));
}
