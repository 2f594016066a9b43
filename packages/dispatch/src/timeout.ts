import { DispatchError } from "./dispatch-error.ts";

/**
 * Runs a task with a signal that aborts after so many milliseconds; the promise then rejects even when the
 * task ignores the signal.
 *
 * @throws DispatchError `timeout`, or what the task throws.
 */
export async function withTimeout<T>(
  timeoutMs: number,
  task: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const expiry = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      const error = new DispatchError("timeout", `No answer within ${timeoutMs} ms.`, {
        timeoutMs,
      });
      controller.abort(error);
      reject(error);
    }, timeoutMs);
  });
  try {
    return await Promise.race([task(controller.signal), expiry]);
  } finally {
    clearTimeout(timer);
  }
}
