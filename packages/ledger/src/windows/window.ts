/** Where a dispatch window stands. */
export type WindowStatus =
  | "DISPATCHING"
  | "ENQUEUED"
  | "ENQUEUE_FAILED"
  | "INLINE_EMERGENCY"
  | "MISSED"
  | "SKIPPED_OVERLAP";

/**
 * Which status may follow which. `DISPATCHING` follows itself when an expired claim is taken over under a
 * new fence. A sent window goes back to it when a repair sends it again, a missed one when a late tick or
 * a catch-up dispatches it after all, or its run starts: it was sent while the ledger was away. Every statement that changes a status asks for the old one and the fence.
 */
export const windowTransitions: Readonly<Record<WindowStatus, readonly WindowStatus[]>> = {
  DISPATCHING: ["DISPATCHING", "ENQUEUED", "ENQUEUE_FAILED", "INLINE_EMERGENCY"],
  ENQUEUE_FAILED: ["DISPATCHING"],
  ENQUEUED: ["DISPATCHING"],
  INLINE_EMERGENCY: [],
  MISSED: ["DISPATCHING", "ENQUEUED"],
  SKIPPED_OVERLAP: [],
};
