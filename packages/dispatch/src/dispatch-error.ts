import { EvenkeelError, type ErrorData } from "@evenkeel/core";

/**
 * What can be wrong with a dispatch before anything is claimed; `event_refused` is what a send can come to.
 */
export type DispatchErrorCode =
  | "invalid_configuration"
  | "invalid_schedule"
  | "invalid_window"
  | "invalid_params"
  | "invalid_scope"
  | "invalid_scheduled_time"
  | "event_refused";

/** A dispatch that cannot be made as asked. */
export class DispatchError extends EvenkeelError<DispatchErrorCode> {
  override readonly name = "DispatchError";

  constructor(
    code: DispatchErrorCode,
    message: string,
    data: ErrorData = {},
    options?: { readonly cause?: unknown },
  ) {
    super(code, message, data, options);
  }
}
