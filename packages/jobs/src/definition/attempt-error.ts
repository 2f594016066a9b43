import { EvenkeelError } from "@evenkeel/core";

/** What a handler can say about its failure by throwing. */
export type AttemptErrorCode = "job_terminal" | "job_retry_after" | "job_snooze";

/**
 * Thrown by a handler: trying again cannot help. The job goes to the dead letters at once, reason `terminal`.
 *
 * @example throw new TerminalError("The mailbox was closed.", { cause: error });
 */
export class TerminalError extends EvenkeelError<"job_terminal"> {
  override readonly name = "TerminalError";

  constructor(message: string, options?: { readonly cause?: unknown }) {
    super("job_terminal", message, {}, options);
  }
}

/** Settings of {@link RetryAfterError} and {@link SnoozeError}. */
export interface DelayOptions {
  /** In how many milliseconds the job is due again. Below 0 counts as 0, and the longest delay is 366 days. */
  readonly delayMs: number;
  /** What led to it; recorded with the attempt where the attempt counts. None by default. */
  readonly cause?: unknown;
}

/**
 * Thrown by a handler: the attempt failed, and the next is due after `delayMs` instead of the policy's delay.
 *
 * @example throw new RetryAfterError("The provider is busy.", { delayMs: 60_000, cause: error });
 */
export class RetryAfterError extends EvenkeelError<"job_retry_after"> {
  override readonly name = "RetryAfterError";
  readonly delayMs: number;

  constructor(message: string, { delayMs, ...options }: DelayOptions) {
    super("job_retry_after", message, { delayMs }, options);
    this.delayMs = delayMs;
  }
}

/**
 * Thrown by a handler: it is too early, without a failure. Due again after `delayMs`; the attempt does not count. So a job
 * with `maxAttempts: 1` starts again.
 *
 * @example throw new SnoozeError("The import has not ended.", { delayMs: 60_000 });
 */
export class SnoozeError extends EvenkeelError<"job_snooze"> {
  override readonly name = "SnoozeError";
  readonly delayMs: number;

  constructor(message: string, { delayMs, ...options }: DelayOptions) {
    super("job_snooze", message, { delayMs }, options);
    this.delayMs = delayMs;
  }
}

/** The longest delay that is honoured, in milliseconds: 366 days. */
export const maxDelayMs: number = 366 * 24 * 60 * 60 * 1_000;

/**
 * What a thrown value says. It goes by `code` and `delayMs`, not by class: two copies of this package in
 * one process must understand each other's errors. Never throws.
 */
export function readVerdict(error: unknown): Verdict | undefined {
  try {
    return readFields(error);
  } catch {
    // A getter or a proxy that throws has said nothing.
    return undefined;
  }
}

type Verdict =
  | { readonly code: "job_terminal" }
  | { readonly code: "job_retry_after" | "job_snooze"; readonly delayMs: number };

function readFields(error: unknown): Verdict | undefined {
  if (typeof error !== "object" || error === null || !("code" in error)) return undefined;
  if (error.code === "job_terminal") return { code: error.code };
  if (error.code !== "job_retry_after" && error.code !== "job_snooze") return undefined;
  const delayMs = "delayMs" in error ? error.delayMs : undefined;
  // Without a usable delay it is an ordinary failure.
  if (typeof delayMs !== "number" || Number.isNaN(delayMs)) return undefined;
  // A time that has just passed makes a delay below 0.
  return { code: error.code, delayMs: Math.min(Math.max(0, delayMs), maxDelayMs) };
}
