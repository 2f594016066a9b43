import type { Pool } from "pg";

/** Numbers over the product's tables. */
export interface InboxReport {
  readonly messages: number;
  readonly tenants: number;
  readonly threads: number;
  /** Messages not processed yet, or for good. */
  readonly unprocessed: number;
  /** Processed messages that get no reply by their class. */
  readonly ignored: number;
  readonly drafts: number;
  readonly sent: number;
  /** Replies that reached the outside more than once, or that another job tried to send again. Must be 0. */
  readonly doubleSent: number;
  /** Replies whose reservation and delivery do not agree. Must be 0. */
  readonly inconsistent: number;
}

const reportStatement = `
SELECT
  (SELECT count(*)::int FROM "inbox"."message") AS "messages",
  (SELECT count(DISTINCT "tenant_id")::int FROM "inbox"."message") AS "tenants",
  (SELECT count(DISTINCT ("tenant_id", "thread_id"))::int FROM "inbox"."message"
   WHERE "thread_id" IS NOT NULL) AS "threads",
  (SELECT count(*)::int FROM "inbox"."message" WHERE "class" IS NULL) AS "unprocessed",
  (SELECT count(*)::int FROM "inbox"."message" WHERE "class" NOT IN ('person', 'list')) AS "ignored",
  (SELECT count(*)::int FROM "inbox"."draft") AS "drafts",
  (SELECT count(*)::int FROM "inbox"."outbound") AS "sent",
  (SELECT count(*)::int - count(DISTINCT ("tenant_id", "message_id"))::int FROM "inbox"."delivery")
    + (SELECT count(*)::int FROM "inbox"."double_send_attempt") AS "doubleSent",
  (SELECT count(*)::int FROM "inbox"."outbound" AS "o"
   FULL JOIN (SELECT DISTINCT "tenant_id", "message_id" FROM "inbox"."delivery") AS "d"
     USING ("tenant_id", "message_id")
   WHERE "o"."job_id" IS NULL OR "d"."message_id" IS NULL) AS "inconsistent"`;

/** Reads an {@link InboxReport}. */
export async function readInboxReport(pool: Pool): Promise<InboxReport> {
  const { rows } = await pool.query<InboxReport>(reportStatement);
  const [report] = rows;
  if (report === undefined) throw new Error("A count came back without a row.");
  return report;
}
