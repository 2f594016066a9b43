import { DispatchError } from "../dispatch-error.ts";

/** The slice of time that a tick belongs to. */
export interface DispatchWindow {
  readonly start: Date;
  readonly seconds: number;
}

/** The length of a nudge's window, in seconds. No schedule and no setting makes windows as short. */
export const nudgeWindowSeconds: number = 1;

/** Whether a window is a nudge's. */
export function isNudge({ seconds }: DispatchWindow): boolean {
  return seconds === nudgeWindowSeconds;
}

/** The shortest window, in seconds. */
const minWindowSeconds: number = nudgeWindowSeconds;

/** The longest window, in seconds: a day. */
const maxWindowSeconds: number = 86_400;

/**
 * Returns the window that holds an instant. Windows start at multiples of their length since 1970 in UTC and never
 * overlap; an instant at an edge belongs to the window that it starts.
 *
 * @throws DispatchError `invalid_window`.
 */
export function computeWindow(at: Date, seconds: number): DispatchWindow {
  if (!Number.isInteger(seconds) || seconds < minWindowSeconds || seconds > maxWindowSeconds) {
    throw new DispatchError(
      "invalid_window",
      `A dispatch window takes ${minWindowSeconds} to ${maxWindowSeconds} whole seconds; got ${seconds}.`,
      { seconds },
    );
  }
  const instant = at.getTime();
  if (Number.isNaN(instant)) {
    throw new DispatchError("invalid_window", "The tick's time is not a valid date.", { seconds });
  }
  const lengthMs = seconds * 1000;
  return { start: new Date(Math.floor(instant / lengthMs) * lengthMs), seconds };
}
