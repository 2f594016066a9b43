import { systemClock, type Clock } from "./clock.ts";
import { EvenkeelError } from "./error.ts";

/** A task had no result when its deadline passed. `data` holds `deadlineMs`. */
export class DeadlineExceededError extends EvenkeelError<"deadline_exceeded"> {
  override readonly name = "DeadlineExceededError";

  constructor(deadlineMs: number) {
    super("deadline_exceeded", `No answer within ${deadlineMs} ms.`, { deadlineMs });
  }
}

/**
 * Runs a task and waits for it at most `deadlineMs` milliseconds; a negative number counts as 0. At the
 * deadline the task's signal aborts and the promise rejects, also when the task ignores the signal. What
 * the task does after that has no effect on the caller.
 *
 * @param clock Measures the deadline; the process's own clock by default.
 * @throws DeadlineExceededError, or what the task throws.
 */
export async function withDeadline<Value>(
  deadlineMs: number,
  task: (signal: AbortSignal) => Promise<Value>,
  clock: Clock = systemClock,
): Promise<Value> {
  const controller = new AbortController();
  let cancelTimer = (): void => {};
  const expiry = new Promise<never>((_resolve, reject) => {
    cancelTimer = clock.setTimer(
      () => {
        const error = new DeadlineExceededError(deadlineMs);
        controller.abort(error);
        reject(error);
      },
      Math.max(0, deadlineMs),
    );
  });
  try {
    return await Promise.race([task(controller.signal), expiry]);
  } finally {
    cancelTimer();
  }
}
