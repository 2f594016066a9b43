import fc from "fast-check";
import { expect, test } from "vitest";

import {
  maxDelayMs,
  RetryAfterError,
  SnoozeError,
  TerminalError,
} from "../definition/attempt-error.ts";
import { exponential, type RetryPolicy } from "../definition/retry-policy.ts";
import { abortReasons, isAbort } from "./abort-reasons.ts";
import { decideSettlement, type AttemptOutcome } from "./settlement-decision.ts";

const retry = exponential({ maxAttempts: 3, baseMs: 1_000 });

function decide(outcome: AttemptOutcome, attempt = 1): ReturnType<typeof decideSettlement> {
  return decideSettlement({
    outcome,
    attempt,
    maxAttempts: 3,
    retry,
    isRetryable: () => true,
    random: () => 0.5,
  });
}

const threw = (error: unknown): AttemptOutcome => ({ kind: "threw", error });

test("a failure is tried again while attempts are left, and is then dead", () => {
  const error = new Error("boom");
  expect(decide(threw(error), 1)).toMatchObject({ kind: "retry", delayMs: 500 });
  expect(decide(threw(error), 2)).toMatchObject({ kind: "retry", delayMs: 1_000 });
  expect(decide(threw(error), 3)).toMatchObject({ kind: "dead", reason: "exhausted" });
  expect(decide({ kind: "timed_out", timeoutMs: 5, allowedMs: 5 }, 3)).toMatchObject({
    kind: "dead",
    reason: "timeout",
  });
});

test("an abort gives the attempt back, but for a job that has one: that is dead", () => {
  const interrupted = { kind: "interrupted" } as const;
  for (const attempt of [1, 2, 3])
    expect(decide(interrupted, attempt)).toEqual({ kind: "released" });
  const chance = { retry, isRetryable: () => true, random: () => 0.5 };
  const once = decideSettlement({ outcome: interrupted, attempt: 1, maxAttempts: 1, ...chance });
  expect(once).toMatchObject({
    kind: "dead",
    reason: "exhausted",
    error: { code: "drain_aborted" },
  });
});

test("the errors of this package decide, also when they come from another copy of it", () => {
  expect(decide(threw(new TerminalError("no")))).toMatchObject({
    kind: "dead",
    reason: "terminal",
  });
  expect(decide(threw(new RetryAfterError("x", { delayMs: 7 })), 2)).toMatchObject({
    kind: "retry",
    delayMs: 7,
  });
  expect(decide(threw(new RetryAfterError("x", { delayMs: 7 })), 3)).toMatchObject({
    kind: "dead",
  });
  expect(decide(threw(new SnoozeError("x", { delayMs: 9 })), 3)).toEqual({
    kind: "snooze",
    delayMs: 9,
  });
  expect(decide(threw({ code: "job_snooze", delayMs: 9 }))).toEqual({ kind: "snooze", delayMs: 9 });
});

test("whatever is thrown, the decision is one that the ledger can store", () => {
  fc.assert(
    fc.property(fc.anything(), fc.integer({ min: 1, max: 3 }), (thrown, attempt) => {
      const decision = decide(threw(thrown), attempt);
      expect(["retry", "dead", "snooze"]).toContain(decision.kind);
      expect(() => JSON.stringify(decision)).not.toThrow();
    }),
  );
});

const outcomes: fc.Arbitrary<AttemptOutcome> = fc.oneof(
  fc.constantFrom<AttemptOutcome>(
    { kind: "interrupted" },
    { kind: "unsupported_version" },
    { kind: "attempts_exhausted" },
    { kind: "grace_exceeded" },
    { kind: "timed_out", timeoutMs: 1, allowedMs: 1 },
    { kind: "invalid_payload", issues: ["n: wrong"] },
    { kind: "returned", result: 1 },
  ),
  fc
    .oneof(
      fc.anything(),
      fc.constantFrom(new Error("x"), new TerminalError("x")),
      fc.double().map((delayMs) => new RetryAfterError("x", { delayMs })),
      fc.double().map((delayMs) => new SnoozeError("x", { delayMs })),
    )
    .map(threw),
);

const policies: fc.Arbitrary<RetryPolicy> = fc.oneof(
  fc.constant(exponential()),
  fc.double().map((delayMs) => ({ maxAttempts: 3, delayMs: () => delayMs })),
  fc.constant({
    maxAttempts: 3,
    delayMs: () => {
      throw new Error("A policy with a fault.");
    },
  }),
);

test("whatever the outcome and the policy: no retry after the last attempt, and every delay is one", () => {
  const attempts = fc.integer({ min: 1, max: 10 });
  fc.assert(
    fc.property(outcomes, policies, attempts, attempts, (outcome, policy, attempt, maxAttempts) => {
      const chance = { retry: policy, isRetryable: () => true, random: () => 0.5 };
      const decision = decideSettlement({ outcome, attempt, maxAttempts, ...chance });
      const delayMs = "delayMs" in decision ? decision.delayMs : 0;
      const error = "error" in decision ? decision.error : { code: "", message: "" };
      expect(decision.kind !== "retry" || attempt < maxAttempts).toBe(true);
      expect(delayMs >= 0 && delayMs <= maxDelayMs).toBe(true);
      expect([typeof error.code, typeof error.message]).toEqual(["string", "string"]);
    }),
  );
});

test("a delay to a time that has just passed is none, and one that is no number fails the attempt", () => {
  expect(decide(threw(new SnoozeError("x", { delayMs: -20 })), 3)).toEqual({
    kind: "snooze",
    delayMs: 0,
  });
  expect(decide(threw(new RetryAfterError("x", { delayMs: -20 })))).toMatchObject({
    kind: "retry",
    delayMs: 0,
  });
  expect(decide(threw(new SnoozeError("x", { delayMs: Number.POSITIVE_INFINITY })))).toMatchObject({
    delayMs: maxDelayMs,
  });
  expect(decide(threw(new SnoozeError("x", { delayMs: Number.NaN })), 3)).toMatchObject({
    reason: "exhausted",
  });
});

test("work that was interrupted or is too new costs no attempt", () => {
  expect(decide({ kind: "interrupted" }, 3)).toEqual({ kind: "released" });
  expect(decide({ kind: "unsupported_version" }, 3)).toMatchObject({ kind: "snooze" });
});

test("an abort is told from a failure by its reason or its name, also as a cause", () => {
  const reason = abortReasons.drainAborted();
  expect(isAbort(reason, reason)).toBe(true);
  expect(isAbort(new Error("stopped", { cause: reason }), reason)).toBe(true);
  expect(isAbort(new DOMException("stopped", "AbortError"), reason)).toBe(true);
  expect(isAbort(new Error("another"), reason)).toBe(false);
  expect(isAbort(undefined, reason)).toBe(false);
});

test("an error that the definition calls hopeless is dead at once, unless the handler asked for a delay", () => {
  const decideBy = (isRetryable: (error: unknown) => boolean, error: unknown): unknown =>
    decideSettlement({
      outcome: threw(error),
      attempt: 1,
      maxAttempts: 3,
      retry,
      isRetryable,
      random: () => 0.5,
    });
  const isRetryable = (error: unknown): boolean => !(error instanceof RangeError);
  const dead = { kind: "dead", reason: "terminal" };
  expect(decideBy(isRetryable, new RangeError("no such mailbox"))).toMatchObject(dead);
  expect(decideBy(isRetryable, new Error("boom"))).toMatchObject({ kind: "retry" });
  const never = (): boolean => false;
  expect(decideBy(never, new RetryAfterError("x", { delayMs: 5 }))).toMatchObject({
    kind: "retry",
    delayMs: 5,
  });
  expect(decideBy(never, new SnoozeError("x", { delayMs: 5 }))).toMatchObject({
    kind: "snooze",
    delayMs: 5,
  });
  const broken = (): boolean => {
    throw new Error("It could not look at it.");
  };
  expect(decideBy(broken, new Error("boom"))).toMatchObject({ kind: "retry" });
});
