import type { Mail } from "./mail.ts";

/**
 * The thread that a message belongs to: the first message it refers to, or its subject when it is a reply
 * that names none, or itself. It does not depend on the order in which messages come in.
 *
 * @param fallbackId Names the thread of a message without any id.
 */
export function threadOf(
  mail: Pick<Mail, "messageId" | "references" | "subject">,
  fallbackId: string,
): string {
  const [root] = mail.references;
  if (root !== undefined) return root;
  const subject = normaliseSubject(mail.subject);
  if (subject !== "" && subject !== mail.subject.toLowerCase()) return `subject:${subject}`;
  return mail.messageId === "" ? fallbackId : mail.messageId;
}

/** A subject without its reply and forward marks and its list tags, in lower case. */
export function normaliseSubject(subject: string): string {
  let rest = subject.trim();
  for (;;) {
    const shorter = rest.replace(/^(?:(?:re|fwd?|aw|sv)(?:\[\d+\])?\s*:|\[[^\]]*\])\s*/iu, "");
    if (shorter === rest) return rest.replaceAll(/\s+/gu, " ").toLowerCase();
    rest = shorter;
  }
}

/** The subject of a reply: one `Re:`, however often the conversation went back and forth. */
export function replySubject(subject: string): string {
  const bare = subject.replace(/^(?:\s*re(?:\[\d+\])?\s*:)+\s*/iu, "").trim();
  return `Re: ${bare === "" ? "your message" : bare}`;
}
