import type { Pool } from "pg";

import { isAnswered, mailClasses } from "./classify.ts";
import { draftCreate, inboundProcess, replySend } from "./jobs.ts";

/**
 * Numbers over the product's tables and what the ledger knows of their jobs, all from one snapshot.
 *
 * A message ends in exactly one way: it was answered (`sent`), its class gets no answer (`ignored`), or its
 * chain of jobs broke and a dead letter holds the broken one (`dead`). Until then a job of its chain is in
 * the queue (`open`). As every effect commits together with the next job, and a job leaves the queue
 * together with its dead letter, no snapshot shows a message that is none of these: `lost` is 0 at any
 * moment, and `messages = sent + ignored + dead + open` always holds.
 */
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
  /** Unanswered messages with a dead letter that has not been requeued. */
  readonly dead: number;
  /** Messages whose next job waits or runs. */
  readonly open: number;
  /** Messages that are none of these. Must be 0. */
  readonly lost: number;
  /**
   * Messages that are sent or ignored and have a dead letter too, because a worker died after the effect
   * and before it settled, on the last attempt. They are counted as sent or ignored, not as dead.
   */
  readonly deadAfterEffect: number;
  /** Replies that reached the outside more than once, or that another job tried to send again. Must be 0. */
  readonly doubleSent: number;
  /** Attempts that found their own reply sent before their worker died. They sent nothing. */
  readonly repeatedSends: number;
  /** Replies whose reservation and delivery do not agree, and replies to ignored messages. Must be 0. */
  readonly inconsistent: number;
}

const reportStatement = `
WITH
  letter AS (
    SELECT DISTINCT "tenant_id", "payload" ->> 'messageId' AS "id"
    FROM "evenkeel"."background_dead_letter"
    WHERE "kind" = 'JOB' AND "status" <> 'REQUEUED' AND "name" = ANY($2::text[])
  ),
  job AS (
    SELECT DISTINCT "tenant_id", "payload" ->> 'messageId' AS "id"
    FROM "evenkeel"."background_job" WHERE "type" = ANY($2::text[])
  ),
  message AS MATERIALIZED (
    SELECT m."tenant_id", m."class" IS NULL AS "unprocessed",
      coalesce(m."class" <> ALL($1::text[]), false) AS "ignored",
      o."message_id" IS NOT NULL AS "sent", letter."id" IS NOT NULL AS "dead", job."id" IS NOT NULL AS "open"
    FROM "inbox"."message" AS m
    LEFT JOIN "inbox"."outbound" AS o ON o."tenant_id" = m."tenant_id" AND o."message_id" = m."id"
    LEFT JOIN letter ON letter."tenant_id" = m."tenant_id" AND letter."id" = m."id"
    LEFT JOIN job ON job."tenant_id" = m."tenant_id" AND job."id" = m."id"
  ),
  totals AS (
    SELECT count(*)::int AS "messages", count(DISTINCT "tenant_id")::int AS "tenants",
      (count(*) FILTER (WHERE "unprocessed"))::int AS "unprocessed",
      (count(*) FILTER (WHERE "ignored"))::int AS "ignored",
      (count(*) FILTER (WHERE "sent"))::int AS "sent",
      (count(*) FILTER (WHERE "dead" AND NOT "sent" AND NOT "ignored"))::int AS "dead",
      (count(*) FILTER (WHERE "open" AND NOT "dead" AND NOT "sent" AND NOT "ignored"))::int AS "open",
      (count(*) FILTER (WHERE NOT "open" AND NOT "dead" AND NOT "sent" AND NOT "ignored"))::int AS "lost",
      (count(*) FILTER (WHERE "dead" AND ("sent" OR "ignored")))::int AS "deadAfterEffect",
      (count(*) FILTER (WHERE "sent" AND ("ignored" OR "unprocessed")))::int AS "wrongly_sent"
    FROM message
  ),
  disagreeing AS (
    SELECT count(*)::int AS "count" FROM "inbox"."outbound" AS o
    FULL JOIN (SELECT DISTINCT "tenant_id", "message_id" FROM "inbox"."delivery") AS d
      USING ("tenant_id", "message_id")
    WHERE o."job_id" IS NULL OR d."message_id" IS NULL
  )
SELECT totals."messages", totals."tenants", totals."unprocessed", totals."ignored", totals."sent",
  totals."dead", totals."open", totals."lost", totals."deadAfterEffect",
  totals."wrongly_sent" + disagreeing."count" AS "inconsistent",
  (SELECT count(DISTINCT (link."tenant_id", link."thread_id"))::int
   FROM "inbox"."message" AS m
   JOIN "inbox"."thread_link" AS link
     ON link."tenant_id" = m."tenant_id" AND link."link" = m."thread_link") AS "threads",
  (SELECT count(*)::int FROM "inbox"."draft") AS "drafts",
  (SELECT count(*)::int - count(DISTINCT ("tenant_id", "message_id"))::int FROM "inbox"."delivery")
    + (SELECT count(*)::int FROM "inbox"."double_send_attempt" WHERE NOT "is_same_job") AS "doubleSent",
  (SELECT count(*)::int FROM "inbox"."double_send_attempt" WHERE "is_same_job") AS "repeatedSends"
FROM totals, disagreeing`;

/** Reads an {@link InboxReport}. */
export async function readInboxReport(pool: Pool): Promise<InboxReport> {
  const { rows } = await pool.query<InboxReport>(reportStatement, [
    mailClasses.filter(isAnswered),
    [inboundProcess, draftCreate, replySend].map(({ type }) => type),
  ]);
  const [report] = rows;
  if (report === undefined) throw new Error("A count came back without a row.");
  return report;
}
