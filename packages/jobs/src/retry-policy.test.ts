import fc from "fast-check";
import { expect, test } from "vitest";

import { exponential } from "./retry-policy.ts";

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

test("the ceiling is reached and the default policy tries five times", () => {
  const policy = exponential();
  const ceilings = [1, 2, 3, 10, 11, 1_000].map((attempt) => policy.delayMs(attempt, () => 1));
  expect(ceilings).toEqual([1_000, 2_000, 4_000, 512_000, 900_000, 900_000]);
  expect(policy.maxAttempts).toBe(5);
});
