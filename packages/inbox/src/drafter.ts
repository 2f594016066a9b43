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
    const name = fromName === "" ? (fromAddress.split("@")[0] ?? "") : fromName;
    const lines = text.split("\n").map((line) => line.trim());
    const quote = lines
      .filter((line) => line !== "" && !line.startsWith(">"))
      .slice(0, quotedLines);
    const question = quote.find((line) => line.endsWith("?"));
    const body = [
      `Hello ${name},`,
      "",
      question === undefined
        ? "Thank you for your message. We have read it and will come back to you."
        : "Thank you for your question. We are looking into it and will come back to you.",
      "",
      ...quote.map((line) => `> ${line}`),
      "",
      "Kind regards,",
      tenantId,
    ].join("\n");
    return Promise.resolve({ subject: replySubject(subject), body });
  },
};
