import { EvenkeelError, type ErrorData } from "@evenkeel/core";

/** What can be wrong with a definition, an enqueue call or a running job. */
export type JobErrorCode =
  | "invalid_definition"
  | "duplicate_definition"
  | "invalid_options"
  | "timed_out"
  | "lease_lost"
  | "cancelled"
  | "completion_rolled_back"
  | "drain_aborted"
  | "effect_in_progress"
  | "effect_in_doubt"
  | "invalid_result";

/**
 * A refused definition or call, or the reason of a job's `AbortSignal` (`timed_out`, `lease_lost`,
 * `cancelled`, `drain_aborted`, `effect_in_doubt`). `data` names the job's type and the offending field, never a payload.
 */
export class JobError extends EvenkeelError<JobErrorCode> {
  override readonly name = "JobError";

  constructor(
    code: JobErrorCode,
    message: string,
    data: ErrorData = {},
    options?: { readonly cause?: unknown },
  ) {
    super(code, message, data, options);
  }
}
