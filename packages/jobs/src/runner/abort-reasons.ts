import { JobError } from "../job-error.ts";

/** Why a job is no longer its drain's: another may hold it, or it was cancelled. */
export type Loss = "lost" | "cancelled";

/** Whether a handler stopped because its signal fired: it threw the reason itself, or an abort error. Never throws. */
export function isAbort(error: unknown, reason: unknown): boolean {
  try {
    return isCausedBy(error, reason);
  } catch {
    return false;
  }
}

function isCausedBy(error: unknown, reason: unknown): boolean {
  let current = error;
  for (let depth = 0; depth < 5 && current !== undefined && current !== null; depth += 1) {
    if (current === reason || (current instanceof Error && current.name === "AbortError"))
      return true;
    current = current instanceof Error ? current.cause : undefined;
  }
  return false;
}

/** The reasons that a job's signal fires with. */
export const abortReasons: {
  timedOut(timeoutMs: number): JobError;
  leaseLost(id: string): JobError;
  cancelled(id: string): JobError;
  completionRolledBack(id: string): JobError;
  drainAborted(): JobError;
  effectInDoubt(id: string, effect: string): JobError;
} = {
  timedOut: (timeoutMs) =>
    new JobError("timed_out", `The attempt did not end within ${timeoutMs} ms.`, { timeoutMs }),
  leaseLost: (id) =>
    new JobError(
      "lease_lost",
      `Job ${id} is no longer held by this runner; its result is dropped.`,
      {
        id,
      },
    ),
  cancelled: (id) =>
    new JobError("cancelled", `Job ${id} was cancelled; its result is dropped.`, { id }),
  completionRolledBack: (id) =>
    new JobError(
      "completion_rolled_back",
      `The handler of job ${id} returned, and the transaction that completes it did not commit.`,
      { id },
    ),
  drainAborted: () => new JobError("drain_aborted", "The drain was aborted."),
  effectInDoubt: (id, effect) =>
    new JobError(
      "effect_in_doubt",
      `Effect ${effect} of job ${id} was begun by an earlier try, and it is not known whether it happened. Find out, resolve the effect, and requeue the job.`,
      { id, effect },
    ),
};
