/** When a window waits for repair unless a host says otherwise: for ticks, which ask for it, and for the reconciler. */
export const defaultRepairTimes: {
  readonly neverStartedAfterMs: number;
  readonly staleAfterMs: number;
} = { neverStartedAfterMs: 120_000, staleAfterMs: 1_200_000 };
