import type { AttemptError, Settlement } from "@evenkeel/ledger";

import { readVerdict } from "./attempt-error.ts";
import { JobError } from "./job-error.ts";
import type { RetryPolicy } from "./retry-policy.ts";

/** How an attempt ended, before anything is written about it. */
export type AttemptOutcome =
  | { readonly kind: "returned"; readonly result: unknown }
  | { readonly kind: "threw"; readonly error: unknown }
  /** The time-out passed first. Whatever the handler does afterwards is dropped. */
  | { readonly kind: "timed_out"; readonly timeoutMs: number }
  /** The drain was aborted and the handler did not stop in the time it was given. */
  | { readonly kind: "overstayed" }
  /** The drain was aborted and the handler stopped because of it. */
  | { readonly kind: "interrupted" }
  /** The payload does not match the schema. */
  | { readonly kind: "unreadable"; readonly issues: readonly string[] }
  /** Its workers went away until no attempt was left; it was not started again. */
  | { readonly kind: "used_up" }
  /** A newer build enqueued it with a version that this build does not know. */
  | { readonly kind: "too_new" };

type WithoutClaim<T> = T extends unknown ? Omit<T, "id" | "fence"> : never;

/** A settlement, before it is addressed to a job. */
export type Decision = WithoutClaim<Settlement>;

/** How long a job of a newer version is put off, in milliseconds: time for the newer build to take it. */
const newerVersionDelayMs: number = 15_000;

/** Decides what becomes of a job. Pure. */
export function decideSettlement({
  outcome,
  attempt,
  maxAttempts,
  retry,
  random,
}: {
  readonly outcome: AttemptOutcome;
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly retry: RetryPolicy;
  readonly random: () => number;
}): Decision {
  const isLast = attempt >= maxAttempts;
  const delayMs = (): number => toDelayMs(retry.delayMs(attempt, random));
  switch (outcome.kind) {
    case "returned":
      return { kind: "succeeded", result: outcome.result };
    case "interrupted":
      return { kind: "released" };
    case "too_new":
      return { kind: "snooze", delayMs: newerVersionDelayMs };
    case "unreadable": {
      const message = `The payload does not match the schema: ${outcome.issues.join("; ")}`;
      return { kind: "dead", reason: "schema", error: { code: "invalid_payload", message } };
    }
    case "used_up": {
      const message = `Its workers went away in ${maxAttempts} attempts; none is left.`;
      return { kind: "dead", reason: "exhausted", error: { code: "lease_lapsed", message } };
    }
    case "timed_out": {
      const message = `The attempt did not end within ${outcome.timeoutMs} ms.`;
      const error = { code: "timed_out", message };
      if (isLast) return { kind: "dead", reason: "timeout", error };
      return { kind: "retry", delayMs: delayMs(), error };
    }
    case "overstayed": {
      const message = "The drain was aborted and the handler did not stop.";
      const error = { code: "drain_aborted", message };
      if (isLast) return { kind: "dead", reason: "exhausted", error };
      return { kind: "retry", delayMs: delayMs(), error };
    }
    case "threw": {
      const verdict = readVerdict(outcome.error);
      if (verdict?.code === "job_snooze") return { kind: "snooze", delayMs: verdict.delayMs };
      const error = describeError(outcome.error);
      if (verdict?.code === "job_terminal") return { kind: "dead", reason: "terminal", error };
      if (isLast) return { kind: "dead", reason: "exhausted", error };
      return { kind: "retry", delayMs: verdict?.delayMs ?? delayMs(), error };
    }
  }
}

/** A policy may be the product's own: what it answers is brought into range, 0 to 366 days. */
function toDelayMs(value: number): number {
  return Number.isFinite(value) ? Math.min(Math.max(0, value), 366 * 24 * 60 * 60 * 1_000) : 0;
}

/** What is recorded of a thrown value. The ledger bounds it and takes credentials out. */
export function describeError(error: unknown): AttemptError {
  if (!(error instanceof Error)) return { code: "thrown_value", message: describeValue(error) };
  const code = "code" in error && typeof error.code === "string" ? error.code : error.name;
  const causes: string[] = [];
  for (let cause = error.cause; cause !== undefined && causes.length < 5;) {
    causes.push(cause instanceof Error ? `${cause.name}: ${cause.message}` : describeValue(cause));
    cause = cause instanceof Error ? cause.cause : undefined;
  }
  const stack = [error.stack ?? "", ...causes.map((cause) => `caused by ${cause}`)].join("\n");
  return { code, message: error.message, stack };
}

function describeValue(value: unknown): string {
  try {
    return typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
  } catch {
    return "A value without a JSON form was thrown.";
  }
}

/** Whether a handler stopped because its signal fired: it threw the reason itself, or an abort error. */
export function isAbort(error: unknown, reason: unknown): boolean {
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
  drainAborted(): JobError;
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
  drainAborted: () => new JobError("drain_aborted", "The drain was aborted."),
};
