import fc from "fast-check";
import { expect, test } from "vitest";

import { RetryAfterError, SnoozeError, TerminalError } from "./attempt-error.ts";
import { exponential } from "./retry-policy.ts";
import { decideSettlement, type AttemptOutcome } from "./settlement-decision.ts";

const chance = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

test("full jitter: any delay from 0 to the doubling ceiling, and never above the maximum", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 200 }),
      fc.integer({ min: 0, max: 60_000 }),
      fc.integer({ min: 0, max: 3_600_000 }),
      chance,
      (attempt, baseMs, maxMs, random) => {
        const delayMs = exponential({ baseMs, maxMs }).delayMs(attempt, () => random);
        expect(Number.isInteger(delayMs)).toBe(true);
        expect(delayMs).toBeGreaterThanOrEqual(0);
        expect(delayMs).toBeLessThanOrEqual(Math.min(maxMs, baseMs * 2 ** (attempt - 1)));
      },
    ),
  );
});

test.each([
  { maxAttempts: 0 },
  { maxAttempts: 1.5 },
  { baseMs: -1 },
  { maxMs: Number.NaN },
  { baseMs: Number.POSITIVE_INFINITY },
])("the policy %j is refused", (options) => {
  expect(() => exponential(options)).toThrow(
    expect.objectContaining({ code: "invalid_definition" }),
  );
});

const retry = exponential({ maxAttempts: 3, baseMs: 1_000 });

function decide(outcome: AttemptOutcome, attempt = 1): ReturnType<typeof decideSettlement> {
  return decideSettlement({ outcome, attempt, maxAttempts: 3, retry, random: () => 0.5 });
}

const threw = (error: unknown): AttemptOutcome => ({ kind: "threw", error });

test("a failure is tried again while attempts are left, and is then dead", () => {
  const error = new Error("boom");
  expect(decide(threw(error), 1)).toMatchObject({ kind: "retry", delayMs: 500 });
  expect(decide(threw(error), 2)).toMatchObject({ kind: "retry", delayMs: 1_000 });
  expect(decide(threw(error), 3)).toMatchObject({ kind: "dead", reason: "exhausted" });
  expect(decide({ kind: "timed_out", timeoutMs: 5 }, 3)).toMatchObject({
    kind: "dead",
    reason: "timeout",
  });
});

test("the errors of this package decide, also when they come from another copy of it", () => {
  expect(decide(threw(new TerminalError("no")))).toMatchObject({
    kind: "dead",
    reason: "terminal",
  });
  expect(decide(threw(new RetryAfterError(7)), 2)).toMatchObject({ kind: "retry", delayMs: 7 });
  expect(decide(threw(new RetryAfterError(7)), 3)).toMatchObject({ kind: "dead" });
  expect(decide(threw(new SnoozeError(9)), 3)).toEqual({ kind: "snooze", delayMs: 9 });
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
