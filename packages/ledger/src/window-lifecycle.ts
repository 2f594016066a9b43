/** Where a dispatch window stands. */
export type WindowStatus = "DISPATCHING" | "ENQUEUED" | "ENQUEUE_FAILED" | "INLINE_EMERGENCY";

/**
 * Which status may follow which. `DISPATCHING` follows itself when a lapsed claim is taken over under a
 * new fence. Every statement that changes a status asks for the old one and the fence.
 */
export const windowTransitions: Readonly<Record<WindowStatus, readonly WindowStatus[]>> = {
  DISPATCHING: ["DISPATCHING", "ENQUEUED", "ENQUEUE_FAILED", "INLINE_EMERGENCY"],
  ENQUEUE_FAILED: ["DISPATCHING"],
  ENQUEUED: [],
  INLINE_EMERGENCY: [],
};
