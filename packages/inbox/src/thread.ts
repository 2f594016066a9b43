import type { PoolClient } from "pg";

import type { Mail } from "./mail.ts";

const replyMark = /^(?:re|aw|antw|sv|vs)(?:\[\d+\])?\s*:\s*/iu;
const forwardMark = /^(?:fwd?|wg|tr)(?:\[\d+\])?\s*:\s*/iu;
const listTag = /^\[[^\]]*\]\s*/u;

/**
 * What ties a message to its thread: itself first, then the messages it refers to, or its subject when it
 * is a reply that names none. Messages that share a link, directly or through others, are one thread.
 */
export function threadLinks(
  mail: Pick<Mail, "messageId" | "references" | "subject">,
  rowId: string,
): [string, ...string[]] {
  const own = mail.messageId === "" ? `row:${rowId}` : `id:${mail.messageId}`;
  if (mail.references.length > 0) return [own, ...mail.references.map((id) => `id:${id}`)];
  const subject = normaliseSubject(mail.subject);
  return isReplySubject(mail.subject) && subject !== "" ? [own, `subject:${subject}`] : [own];
}

const linkStatement = `
WITH
  known AS (
    SELECT DISTINCT "thread_id" FROM "inbox"."thread_link"
    WHERE "tenant_id" = $1 AND "link" = ANY($2::text[])
  ),
  thread AS (
    SELECT min("name" COLLATE "C") AS "id"
    FROM (SELECT "thread_id" FROM known UNION ALL SELECT unnest($2::text[])) AS "names" ("name")
  ),
  joined AS (
    UPDATE "inbox"."thread_link" SET "thread_id" = thread."id"
    FROM thread
    WHERE "tenant_id" = $1 AND "thread_id" IN (SELECT "thread_id" FROM known)
      AND "thread_id" <> thread."id"
  )
INSERT INTO "inbox"."thread_link" ("tenant_id", "link", "thread_id")
SELECT $1, "link", thread."id" FROM unnest($2::text[]) AS "links" ("link"), thread
ON CONFLICT DO NOTHING`;

/** Names this package's locks on a tenant's threads. */
const threadLock = 730_541;

/**
 * Puts a message's links into one thread of the tenant, and joins the threads that they were in. A thread
 * is named after the least of its links, so the outcome does not depend on the order of messages.
 *
 * It locks the tenant's threads until the transaction ends: let it be the last thing there.
 */
export async function linkThread(
  tx: PoolClient,
  { tenantId, links }: { readonly tenantId: string; readonly links: readonly string[] },
): Promise<void> {
  await tx.query("SELECT pg_advisory_xact_lock($1, hashtext($2))", [threadLock, tenantId]);
  await tx.query(linkStatement, [tenantId, links]);
}

/** A subject without its reply and forward marks and its list tags, in lower case. */
export function normaliseSubject(subject: string): string {
  const bare = strip(subject, [replyMark, forwardMark, listTag]);
  return bare.replaceAll(/\s+/gu, " ").toLowerCase();
}

/** The subject of a reply: one `Re:`, however often the conversation went back and forth. */
export function replySubject(subject: string): string {
  const bare = strip(subject, [replyMark]);
  return `Re: ${bare === "" ? "your message" : bare}`;
}

function isReplySubject(subject: string): boolean {
  return replyMark.test(strip(subject, [listTag]));
}

/** Takes marks from the front until none is left. */
function strip(subject: string, marks: readonly RegExp[]): string {
  let rest = subject.trim();
  for (;;) {
    const shorter = marks.reduce((text, mark) => text.replace(mark, ""), rest);
    if (shorter === rest) return rest;
    rest = shorter;
  }
}
