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
