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
 * `inbox.outbound`, so a mailer that writes to the same database delivers exactly once: a worker killed
 * between the send and the record leaves neither.
 *
 * One that talks to an SMTP provider delivers at least once, for the provider may have taken a mail whose
 * transaction never commits. It hands the provider a hash of `tenantId` and `messageId`, the key of the
 * reservation, as the idempotency key and in `Message-ID`, so that the second copy is dropped there or in
 * the mailbox. It holds the transaction while it waits: its time-out must be well below the job's.
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
