import type { PoolClient } from "pg";

/** A reply as it leaves the product. */
export interface OutgoingReply {
  readonly tenantId: string;
  readonly messageId: string;
  readonly recipient: string;
  readonly subject: string;
  readonly body: string;
  readonly inReplyTo: string;
  readonly references: readonly string[];
  /** The job that sends it, and its attempt. */
  readonly jobId: string;
  readonly attempt: number;
}

/**
 * Hands a reply to the outside. It is called inside the transaction that reserved the reply in
 * `inbox.outbound`, so a mailer that writes to the same database delivers exactly once. One that talks to
 * a provider delivers at least once, and must pass `tenantId/messageId` on as the provider's idempotency key.
 *
 * @throws TerminalError when the recipient can never be reached; any other error is tried again.
 */
export interface Mailer {
  deliver(tx: PoolClient, reply: OutgoingReply): Promise<void>;
}

/** A mailer whose outside world is the table `inbox.delivery`: every call appends one row. */
export const tableMailer: Mailer = {
  deliver: async (tx, { tenantId, messageId, recipient, jobId, attempt }) => {
    await tx.query(
      `INSERT INTO "inbox"."delivery" ("tenant_id", "message_id", "recipient", "job_id", "attempt")
       VALUES ($1, $2, $3, $4, $5)`,
      [tenantId, messageId, recipient, jobId, attempt],
    );
  },
};
