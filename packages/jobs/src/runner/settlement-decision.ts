import type { Settlement } from "@evenkeel/ledger";

import { maxDelayMs, readVerdict } from "../definition/attempt-error.ts";
import { describeError } from "../definition/error-description.ts";
import { exponential, type RetryPolicy } from "../definition/retry-policy.ts";

/** How an attempt ended, before anything is written about it. */
export type AttemptOutcome =
  | { readonly kind: "returned"; readonly result: unknown }
  | { readonly kind: "threw"; readonly error: unknown }
  /** The time-out passed first. Whatever the handler does afterwards is dropped. */
  | {
      readonly kind: "timed_out";
      readonly timeoutMs: number;
      /** Less than its time-out where the host's limit came first. */
      readonly allowedMs: number;
    }
  /** The drain was aborted and the handler did not stop in the time it was given. */
  | { readonly kind: "grace_exceeded" }
  /** The drain was aborted and the handler stopped because of it. */
  | { readonly kind: "interrupted" }
  /** The payload does not match the schema. */
  | { readonly kind: "invalid_payload"; readonly issues: readonly string[] }
  /** Its workers died until no attempt was left; it was not started again. */
  | { readonly kind: "attempts_exhausted" }
  /** Its worker died so often in a row that the job counts as the cause. */
  | { readonly kind: "poison"; readonly crashes: number }
  /** An effect of an earlier attempt may have happened, and its handler will not have it made again. */
  | { readonly kind: "in_doubt"; readonly message: string }
  /** A newer build enqueued it with a version that this build does not know. */
  | { readonly kind: "unsupported_version" };

type WithoutClaim<T> = T extends unknown ? Omit<T, "id" | "fence"> : never;

/** A settlement, before it is addressed to a job. */
export type Decision = WithoutClaim<Settlement>;

/** How long a job of a newer version is postponed, in milliseconds: time for the newer build to claim it. */
const newerVersionDelayMs = 15_000;

/** Decides what becomes of a job. Pure. */
export function decideSettlement({
  outcome,
  attempt,
  maxAttempts,
  retry,
  isRetryable,
  random,
}: {
  readonly outcome: AttemptOutcome;
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly retry: RetryPolicy;
  readonly isRetryable: (error: unknown) => boolean;
  readonly random: () => number;
}): Decision {
  const isLast = attempt >= maxAttempts;
  const delayMs = (): number => backOff(retry, attempt, random);
  switch (outcome.kind) {
    case "returned":
      return { kind: "succeeded", result: outcome.result };
    case "interrupted": {
      if (maxAttempts > 1) return { kind: "released" };
      const message =
        "The drain was aborted and the handler stopped. A job of one attempt is not started again by itself: find out what it did, and requeue it.";
      return { kind: "dead", reason: "exhausted", error: { code: "drain_aborted", message } };
    }
    case "unsupported_version":
      return { kind: "snooze", delayMs: newerVersionDelayMs };
    case "invalid_payload": {
      const message = `The payload does not match the schema: ${outcome.issues.join("; ")}`;
      return { kind: "dead", reason: "schema", error: { code: "invalid_payload", message } };
    }
    case "attempts_exhausted": {
      const message = `Its workers died in ${maxAttempts} attempts; none is left.`;
      return { kind: "dead", reason: "exhausted", error: { code: "lease_expired", message } };
    }
    case "poison": {
      const message = `Its worker died ${outcome.crashes} times in a row while it ran.`;
      return { kind: "dead", reason: "poison", error: { code: "poison", message } };
    }
    case "in_doubt": {
      const { message } = outcome;
      return { kind: "dead", reason: "in_doubt", error: { code: "effect_in_doubt", message } };
    }
    case "timed_out": {
      const { timeoutMs, allowedMs } = outcome;
      const message =
        allowedMs < timeoutMs
          ? `The attempt did not end within ${allowedMs} ms, which is all that its host's limit left of its ${timeoutMs} ms. Run it where the limit is longer, or as smaller jobs.`
          : `The attempt did not end within ${timeoutMs} ms.`;
      const error = { code: "timed_out", message };
      if (isLast) return { kind: "dead", reason: "timeout", error };
      return { kind: "retry", delayMs: delayMs(), error };
    }
    case "grace_exceeded": {
      const message = "The drain was aborted and the handler did not stop.";
      const error = { code: "drain_aborted", message };
      if (isLast) return { kind: "dead", reason: "exhausted", error };
      return { kind: "retry", delayMs: delayMs(), error };
    }
    case "threw": {
      const verdict = readVerdict(outcome.error);
      if (verdict?.code === "job_snooze") return { kind: "snooze", delayMs: verdict.delayMs };
      const error = describeError(outcome.error);
      const isTerminal =
        verdict?.code === "job_terminal" ||
        (verdict === undefined && !couldEndOtherwise(isRetryable, outcome.error));
      if (isTerminal) return { kind: "dead", reason: "terminal", error };
      if (isLast) return { kind: "dead", reason: "exhausted", error };
      return { kind: "retry", delayMs: verdict?.delayMs ?? delayMs(), error };
    }
  }
}

/** What the product says; a function that throws while it looks at an error does not condemn the job. */
function couldEndOtherwise(isRetryable: (error: unknown) => boolean, error: unknown): boolean {
  try {
    return isRetryable(error);
  } catch {
    return true;
  }
}

/**
 * The policy's delay. It may be the product's own: what it returns is brought into range, and the default
 * policy stands in for one that throws or returns no number.
 */
function backOff(retry: RetryPolicy, attempt: number, random: () => number): number {
  let delayMs = Number.NaN;
  try {
    delayMs = retry.delayMs(attempt, random);
  } catch {
    // As for a delay that is no number.
  }
  if (typeof delayMs !== "number" || Number.isNaN(delayMs)) {
    return exponential().delayMs(attempt, () => 0.5);
  }
  return Math.min(Math.max(0, delayMs), maxDelayMs);
}
