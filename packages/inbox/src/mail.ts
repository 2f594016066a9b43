import PostalMime, { type Address } from "postal-mime";

/** What the product keeps of a message. Texts hold nothing that Postgres cannot store. */
export interface Mail {
  /** The `Message-ID` header without brackets; empty if the message has none. */
  readonly messageId: string;
  /** Ids of the messages before it in its thread, the oldest first. */
  readonly references: readonly string[];
  readonly subject: string;
  readonly from: { readonly name: string; readonly address: string };
  /** The readable part, up to 20,000 characters; empty if there is none. */
  readonly text: string;
  /** Headers by lower-case name; of repeated ones the first. */
  readonly headers: ReadonlyMap<string, string>;
}

const maxText = 20_000;
const maxField = 500;

/**
 * Parses a message. Broken MIME, unknown charsets, missing headers and empty bodies are ordinary input:
 * what cannot be read is empty.
 */
export async function parseMail(raw: Uint8Array): Promise<Mail> {
  const parsed = await PostalMime.parse(stripMailboxLine(raw)).catch(() => undefined);
  const headers = new Map<string, string>();
  for (const { key, value } of parsed?.headers ?? []) {
    if (!headers.has(key)) headers.set(key, clean(value, maxField));
  }
  const inReplyTo = readIds(parsed?.inReplyTo);
  const references = readIds(parsed?.references);
  return {
    messageId: readIds(parsed?.messageId)[0] ?? "",
    references: references.length > 0 ? references : inReplyTo,
    subject: clean(parsed?.subject ?? "", maxField),
    from: readSender(parsed?.from ?? parsed?.sender),
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
    name: clean(mailbox?.name ?? "", maxField),
    address: clean(mailbox?.address ?? "", maxField).toLowerCase(),
  };
}

/** Ids in angle brackets; a header of mere words has none. */
function readIds(header: string | undefined): string[] {
  return [...(header ?? "").matchAll(/<([^<>\s]+)>/gu)].map(([, id = ""]) => clean(id, maxField));
}

function stripTags(html: string): string {
  return html
    .replaceAll(/<(?:style|script)\b.*?<\/(?:style|script)>/gisu, " ")
    .replaceAll(/<[^>]*>/gu, " ");
}

function clean(text: string, limit: number): string {
  return text.slice(0, limit).replaceAll("\u0000", "").toWellFormed().trim();
}
