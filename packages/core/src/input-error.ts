import { EvenkeelError, type ErrorData } from "./error.ts";

/** What can be wrong with an event or a payload. */
export type InputErrorCode = "invalid_payload" | "invalid_tenant" | "payload_too_large";

/** An event, tenant id or payload that breaks its contract. `data` names the contract and the issues. */
export class InputError extends EvenkeelError<InputErrorCode> {
  override readonly name = "InputError";

  constructor(
    code: InputErrorCode,
    message: string,
    data: ErrorData = {},
    options?: { readonly cause?: unknown },
  ) {
    super(code, message, data, options);
  }
}
