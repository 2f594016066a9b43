/**
 * How long rows are kept, in days, per table and status; `Infinity` keeps them for good. What is not named
 * here is never deleted: windows that are being dispatched or failed to, running runs, jobs that
 * are not settled, open dead letters.
 */
export interface RetentionPolicy {
  /** From the window's end or its last change, whichever is later. */
  readonly windows: Readonly<
    Record<"ENQUEUED" | "INLINE_EMERGENCY" | "MISSED" | "SKIPPED_OVERLAP", number>
  >;
  /** From when the holder took it. */
  readonly guards: Readonly<Record<"TAKEN", number>>;
  /** From the run's end, a stale one's last heartbeat; its attempts go with it. */
  readonly runs: Readonly<
    Record<"SUCCEEDED" | "FAILED" | "CANCELLED" | "SKIPPED_DUPLICATE" | "STALE", number>
  >;
  /** From the job's end. */
  readonly jobHistory: Readonly<Record<"SUCCEEDED" | "DEAD" | "CANCELLED", number>>;
  /** From when the call was begun last. */
  readonly effects: Readonly<Record<"RECORDED", number>>;
  /** From the due time of the job that held the key last, or the end of its `periodMs`; never before that job ends. */
  readonly uniqueKeys: Readonly<Record<"RECORDED", number>>;
  /** From the last claim under it: of a tenant without a decision of its own, met under a limit for every tenant. */
  readonly limits: Readonly<Record<"MET", number>>;
  /** From the operator's decision. */
  readonly deadLetters: Readonly<Record<"REQUEUED" | "DISCARDED", number>>;
  /** From when the server took the event, or refused it. */
  readonly outbox: Readonly<Record<"SENT" | "REFUSED", number>>;
  /** From the decision that it records. */
  readonly audit: Readonly<Record<"RECORDED", number>>;
}

/** Changes to {@link defaultRetention}. */
export type RetentionChanges = {
  readonly [Table in keyof RetentionPolicy]?: Partial<RetentionPolicy[Table]>;
};

/** What is kept how long unless a host says otherwise: a month of what went well, a quarter of what did not. */
export const defaultRetention: RetentionPolicy = {
  windows: { ENQUEUED: 30, INLINE_EMERGENCY: 30, MISSED: 30, SKIPPED_OVERLAP: 30 },
  guards: { TAKEN: 30 },
  runs: { SUCCEEDED: 30, FAILED: 90, CANCELLED: 90, SKIPPED_DUPLICATE: 30, STALE: 90 },
  jobHistory: { SUCCEEDED: 30, DEAD: 90, CANCELLED: 90 },
  effects: { RECORDED: 30 },
  uniqueKeys: { RECORDED: 1 },
  limits: { MET: 7 },
  deadLetters: { REQUEUED: 90, DISCARDED: 90 },
  outbox: { SENT: 30, REFUSED: 90 },
  audit: { RECORDED: 365 },
};

/**
 * The longest that a tick or a repair can come late, in milliseconds: 24 hours, as long as the cron handler
 * takes a scheduled time and the reconciler repairs a window by default.
 */
export const defaultLatenessMs: number = 24 * 60 * 60_000;
