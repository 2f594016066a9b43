/** Where a dead letter stands. */
export type DeadLetterStatus = "OPEN" | "REQUEUED" | "DISCARDED";

/**
 * Which status may follow which. An operator decides once: redriven work that dies again is a new letter that
 * names the old one. Every statement that changes a status asks for `OPEN`.
 */
export const deadLetterTransitions: Readonly<
  Record<DeadLetterStatus, readonly DeadLetterStatus[]>
> = {
  OPEN: ["REQUEUED", "DISCARDED"],
  REQUEUED: [],
  DISCARDED: [],
};

/** What kind of work a letter holds. */
export type DeadLetterKind = "JOB" | "RUN" | "DISPATCH" | "EVENT";

/** Why work will not be tried again by itself. */
export type DeadLetterReason =
  | "terminal"
  | "exhausted"
  | "timeout"
  | "schema"
  | "unknown-type"
  | "poison"
  | "in_doubt"
  | "cancelled"
  | "stale";

/** A letter to be filed. */
export interface NewDeadLetter {
  readonly kind: DeadLetterKind;
  /** The job's id, the run's id, the dispatch key or the outbox event's id: one letter each. */
  readonly sourceId: string;
  /** The job's type or the function's id. */
  readonly name: string;
  readonly reason: DeadLetterReason;
  readonly error: string;
  readonly payload?: unknown;
  /** What happened before: attempts with their errors. */
  readonly history?: readonly unknown[];
  readonly tenantId?: string;
  /** The letter of the same work that was redriven before it died again. */
  readonly previousId?: string;
}
