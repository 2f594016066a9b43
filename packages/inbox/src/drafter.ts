import { replySubject } from "./thread.ts";

/** What a drafter is given: one message of one tenant and nothing of any other. */
export interface DraftRequest {
  readonly tenantId: string;
  readonly messageId: string;
  readonly subject: string;
  readonly fromName: string;
  readonly fromAddress: string;
  readonly text: string;
  /** 1 for the first attempt at this draft. */
  readonly attempt: number;
  readonly signal: AbortSignal;
}

/** A reply that waits to be sent. */
export interface Draft {
  readonly subject: string;
  readonly body: string;
}

/** Writes replies. A product puts its model here. */
export interface Drafter {
  draft(request: DraftRequest): Promise<Draft>;
}

const quotedLines = 3;

/** A drafter that needs no model: the same message always gets the same reply. */
export const templateDrafter: Drafter = {
  draft: ({ tenantId, subject, fromName, fromAddress, text }) => {
    const lines = ownLines(text);
    const quote = lines.slice(0, quotedLines);
    const question = lines.find((line) => line.endsWith("?"));
    // The question is what the reply is about, wherever it stands.
    if (question !== undefined && !quote.includes(question)) quote.splice(-1, 1, question);
    const name = greetedName(fromName, fromAddress);
    const body = [
      `Hello ${name},`,
      "",
      question === undefined
        ? "Thank you for your message. We have read it and will come back to you."
        : "Thank you for your question. We are looking into it and will come back to you.",
      "",
      ...(quote.length === 0 ? [] : [`${name} wrote:`, ...quote.map((line) => `> ${line}`), ""]),
      "Kind regards,",
      tenantId,
    ].join("\n");
    return Promise.resolve({ subject: replySubject(subject), body });
  },
};

/** What the sender wrote: no quotes of others, no line that introduces one, nothing from the signature on. */
function ownLines(text: string): string[] {
  const lines = text.split("\n").map((line) => line.trimEnd());
  const signature = lines.findIndex((line) => line === "--" || /^_{20,}$/u.test(line));
  return lines
    .slice(0, signature === -1 ? undefined : signature)
    .map((line) => line.trim())
    .filter((line) => /[\p{L}\p{N}]/u.test(line))
    .filter((line) => !/^[\w]{0,3}[>|]/u.test(line))
    .filter((line) => !/\b(?:wrote|writes|said|schrieb):?$|^-+ ?original message/iu.test(line));
}

/** `Doe, Jane` is Jane, `Jane Doe` is Jane Doe; without a name the address's local part must do. */
function greetedName(fromName: string, fromAddress: string): string {
  const [local = ""] = fromAddress.split("@");
  const name = fromName.replaceAll(/^["'\s]+|["'\s]+$/gu, "");
  if (name === "" || name.includes("@")) return local;
  return /^[^,]+,\s*(\p{L}[^,\s]*)[^,]*$/u.exec(name)?.[1] ?? name;
}
