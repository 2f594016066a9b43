import PostalMime, { type Address } from "postal-mime";

/** What the product keeps of a message. Texts hold nothing that Postgres cannot store. */
export interface Mail {
  /** The `Message-ID` header without brackets; empty if the message has none. */
  readonly messageId: string;
  /** Ids of the messages before it in its thread, the oldest first. */
  readonly references: readonly string[];
  readonly subject: string;
  readonly from: { readonly name: string; readonly address: string };
  /** Where the sender wants answers; empty if nothing is said about that. */
  readonly replyTo: string;
  /** The readable part, up to 20,000 characters; empty if there is none. */
  readonly text: string;
  /** Headers by lower-case name; of repeated ones the first. */
  readonly headers: ReadonlyMap<string, string>;
}

const maxText = 20_000;
const maxField = 500;
/**
 * What lies beyond is attachments; a message cut there is broken MIME like any other. The parser blocks the
 * worker for 4 s per MiB of the shortest lines (measured on 2 busy cores), and heartbeats with it.
 */
const maxParsedBytes = 512 * 1024;
/** Markup read for a message without a plain part. */
const maxHtml = 200_000;
/** A longer list of references keeps its root and its end, as RFC 5322 lets a reply shorten it. */
const maxReferences = 50;

/**
 * Parses a message. Broken MIME, unknown charsets, missing headers and empty bodies are ordinary input:
 * what cannot be read is empty.
 */
export async function parseMail(raw: Uint8Array): Promise<Mail> {
  const parsed = await PostalMime.parse(stripMailboxLine(raw).subarray(0, maxParsedBytes)).catch(
    () => undefined,
  );
  const headers = new Map<string, string>();
  for (const { key, value } of parsed?.headers ?? []) {
    if (!headers.has(key)) headers.set(key, cleanLine(value));
  }
  return {
    messageId: readIds(parsed?.messageId)[0] ?? "",
    references: readReferences(parsed?.references, parsed?.inReplyTo),
    subject: cleanLine(parsed?.subject ?? ""),
    from: readSender(parsed?.from ?? parsed?.sender),
    replyTo: readSender(parsed?.replyTo?.[0]).address,
    text: clean(parsed?.text ?? stripTags(parsed?.html ?? ""), maxText),
    headers,
  };
}

/** Mailbox files put `From sender date` before the first header. */
function stripMailboxLine(raw: Uint8Array): Uint8Array {
  const start = Buffer.from(raw.subarray(0, 5)).toString("latin1");
  if (start !== "From ") return raw;
  const end = raw.indexOf(0x0a);
  return end === -1 ? raw : raw.subarray(end + 1);
}

function readSender(address: Address | undefined): Mail["from"] {
  const mailbox = address?.group?.[0] ?? address;
  return {
    name: cleanLine(mailbox?.name ?? ""),
    address: cleanLine(mailbox?.address ?? "").toLowerCase(),
  };
}

/** The ids of `References`, or else of `In-Reply-To`. */
function readReferences(references = "", inReplyTo = ""): string[] {
  // Old mailers wrote "Message from Ann <ann@example.org> of <date> <id>": the first is no id.
  const named = inReplyTo.replace(/^\s*message from\b.*?<[^<>]*>\s+of\b/isu, "");
  const ids = [readIds(references), readIds(named)]
    .map((list) => [...new Set(list)].filter((id) => id.includes("@")))
    .find((list) => list.length > 0);
  if (ids === undefined || ids.length <= maxReferences) return ids ?? [];
  return [...ids.slice(0, 1), ...ids.slice(1 - maxReferences)];
}

/** Ids in angle brackets, with the spaces that gateways broke into them taken out. */
function readIds(header = ""): string[] {
  return [...header.matchAll(/<([^<>]+)>/gu)].map(([, id = ""]) =>
    cleanLine(id.replaceAll(/\s/gu, "")),
  );
}

function stripTags(html: string): string {
  return (
    html
      .slice(0, maxHtml)
      // What is never closed ends with the text: a search for its end at every start would take for ever.
      .replaceAll(/<(style|script)\b.*?(?:<\/\1\s*>|$)/gisu, " ")
      .replaceAll(/<[^<>]*>/gu, " ")
  );
}

/** One line: what stands in a reply's header cannot begin another one. */
function cleanLine(text: string): string {
  return clean(text.slice(0, maxField).replaceAll(/[\p{Cc}\u2028\u2029]+/gu, " "), maxField);
}

function clean(text: string, limit: number): string {
  return text.slice(0, limit).replaceAll("\u0000", "").toWellFormed().trim();
}
