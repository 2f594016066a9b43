/** What became of an event at one function. */
export type Outcome =
  | "started"
  | "no match"
  | "filtered"
  | "duplicate event id"
  | "idempotent"
  | "rate limited"
  | "debounced"
  | "batched"
  | "singleton skipped"
  | "paused"
  | "failed to schedule";

/** Why a function ran, or did not, for one event. */
export interface Decision {
  /** The function's full id, `<app>-<function>`. */
  readonly function: string;
  readonly outcome: Outcome;
  /** The reason in one sentence, with the value that decided. */
  readonly reason: string;
  /** The run that was started, or that stands for this event. */
  readonly runId?: string;
}
