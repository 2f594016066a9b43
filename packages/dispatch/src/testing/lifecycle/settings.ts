/** The times that the lifecycles depend on, in milliseconds, and by how much the clock can move. */
export const settings = {
  /** A window. */
  windowMs: 60_000,
  /** What becomes due within it is due to a tick. */
  lookaheadMs: 2_000,
  /** A tick's claim. */
  dispatchLeaseMs: 30_000,
  /** A repair's claim, as the reconciler has it. */
  repairLeaseMs: 60_000,
  /** A job's claim. */
  jobLeaseMs: 30_000,
  retryDelayMs: 10_000,
  /** When a job that is enqueued for later is due. */
  laterMs: 600_000,
  /** How many jobs a worker starts at once. */
  slots: 3,
  neverStartedAfterMs: 120_000,
  /** When a window that waits behind others counts as lost, as the ledger has it. */
  lostAfterMs: 3_900_000,
  /** The longest pause between two repairs of a window, as the ledger has it. */
  longestPauseMs: 1_800_000,
  staleAfterMs: 1_200_000,
  /** The longest that a tick, a repair or a frozen host can come late, and Inngest's memory of event ids. */
  latenessMs: 86_400_000,
  /** The least that rows may be kept. */
  keptDays: 2,
  keptMs: 172_800_000,
  moves: {
    "35 s": 35_000,
    "3 min": 180_000,
    "21 min": 1_260_000,
    "5 h": 18_000_000,
    "49 h": 176_400_000,
  },
} as const;
