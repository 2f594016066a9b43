import { withDeadline, type Logger } from "@evenkeel/core";

/** What a worker closes, in order. Each has a name for the log. */
export type ShutdownStep = readonly [name: string, close: () => Promise<unknown>];

/**
 * Closes one after the other, all within the deadline. What hangs is logged as `worker.stop_timed_out`, and what comes
 * after it is left as it is: its owner is about to exit.
 *
 * @returns Whether all were closed in time.
 */
export async function shutDown(
  steps: readonly ShutdownStep[],
  deadlineMs: number,
  logger: Logger,
): Promise<boolean> {
  let current = "";
  const closeAll = async (): Promise<true> => {
    for (const [name, close] of steps) {
      current = name;
      await close();
    }
    return true;
  };
  const isClosed = await withDeadline(deadlineMs, closeAll).catch(() => false);
  if (!isClosed) logger.error("worker.stop_timed_out", { during: current, deadlineMs });
  return isClosed;
}
