import { JobError } from "../job-error.ts";
import { maxDelayMs } from "./attempt-error.ts";

/** How often a job is tried and how long it waits in between. Pure: chance comes in as an argument. */
export interface RetryPolicy {
  /**
   * Attempts in all, the first included. Stored with the job when it is enqueued. An attempt that a drain's abort ends does
   * not count, unless it is 1: such a job is then dead, as it starts at most once.
   */
  readonly maxAttempts: number;
  /**
   * Milliseconds until the next attempt.
   *
   * @param attempt The attempt that failed, 1 for the first.
   * @param random Returns a number from 0 up to 1.
   */
  delayMs(attempt: number, random: () => number): number;
}

/** Settings of {@link exponential}. */
export interface ExponentialOptions {
  /** Attempts in all, 5 by default. */
  readonly maxAttempts?: number;
  /** The ceiling of the first delay, 1,000 ms by default; it doubles with every attempt. */
  readonly baseMs?: number;
  /** The ceiling that no delay exceeds, 15 minutes by default. */
  readonly maxMs?: number;
}

/**
 * Exponential backoff with full jitter: the delay is drawn evenly from 0 up to the ceiling
 * `min(maxMs, baseMs * 2^(attempt - 1))`, so that jobs that failed together do not come back together.
 *
 * @throws JobError `invalid_definition` on a setting that is out of range.
 */
export function exponential(options: ExponentialOptions = {}): RetryPolicy {
  const { maxAttempts = 5, baseMs = 1_000, maxMs = 15 * 60 * 1_000 } = options;
  checkMaxAttempts(maxAttempts);
  checkDelays({ baseMs, maxMs });
  return {
    maxAttempts,
    delayMs: (attempt, random) =>
      Math.floor(random() * Math.min(maxMs, baseMs * 2 ** Math.max(0, attempt - 1))),
  };
}

/** Settings of {@link fixed}. */
export interface FixedOptions {
  /** Attempts in all, 5 by default. */
  readonly maxAttempts?: number;
  /** Every delay, in milliseconds. */
  readonly delayMs: number;
}

/**
 * The same delay after every failed attempt, without jitter: for a limit that is known to end, as a quota's.
 *
 * @throws JobError `invalid_definition` on a setting that is out of range.
 */
export function fixed({ maxAttempts = 5, delayMs }: FixedOptions): RetryPolicy {
  checkMaxAttempts(maxAttempts);
  checkDelays({ delayMs });
  return { maxAttempts, delayMs: () => delayMs };
}

/** Settings of {@link linear}. */
export interface LinearOptions {
  /** Attempts in all, 5 by default. */
  readonly maxAttempts?: number;
  /** The ceiling of the first delay, 1,000 ms by default; every attempt adds as much again. */
  readonly stepMs?: number;
  /** The ceiling that no delay exceeds, 15 minutes by default. */
  readonly maxMs?: number;
}

/**
 * Linear backoff with half jitter: the delay is drawn evenly from the upper half of
 * `min(maxMs, stepMs * attempt)`.
 *
 * @throws JobError `invalid_definition` on a setting that is out of range.
 */
export function linear(options: LinearOptions = {}): RetryPolicy {
  const { maxAttempts = 5, stepMs = 1_000, maxMs = 15 * 60 * 1_000 } = options;
  checkMaxAttempts(maxAttempts);
  checkDelays({ stepMs, maxMs });
  return {
    maxAttempts,
    delayMs: (attempt, random) => {
      const ceiling = Math.min(maxMs, stepMs * Math.max(1, attempt));
      return Math.floor(ceiling / 2 + (random() * ceiling) / 2);
    },
  };
}

function checkDelays(delays: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(delays)) {
    if (Number.isFinite(value) && value >= 0 && value <= maxDelayMs) continue;
    throw new JobError(
      "invalid_definition",
      `A retry policy's ${name} must be 0 to ${maxDelayMs} ms; got ${value}.`,
      { field: name, value },
    );
  }
}

/** @throws JobError `invalid_definition` unless it is a whole number from 1 to 1,000. */
export function checkMaxAttempts(maxAttempts: number): void {
  if (Number.isInteger(maxAttempts) && maxAttempts >= 1 && maxAttempts <= 1_000) return;
  throw new JobError(
    "invalid_definition",
    `A retry policy's maxAttempts must be a whole number from 1 to 1000; got ${maxAttempts}.`,
    { field: "maxAttempts", value: maxAttempts },
  );
}
