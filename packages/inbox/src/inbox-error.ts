import { EvenkeelError, type ErrorData } from "@evenkeel/core";

/** What can be wrong with a call. */
export type InboxErrorCode = "invalid_message";

/** A refused call. `data` names the field and the message's place in the batch, never its content. */
export class InboxError extends EvenkeelError<InboxErrorCode> {
  override readonly name = "InboxError";

  constructor(code: InboxErrorCode, message: string, data: ErrorData = {}) {
    super(code, message, data);
  }
}
