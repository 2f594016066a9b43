import fc from "fast-check";
import { expect, test } from "vitest";

import { exponential, fixed, linear } from "./retry-policy.ts";

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

test("fixed waits for the same time, linear for a time that grows by a step up to the maximum", () => {
  const attempts = [1, 2, 3, 100];
  expect(attempts.map((attempt) => fixed({ delayMs: 700 }).delayMs(attempt, () => 0.9))).toEqual([
    700, 700, 700, 700,
  ]);
  const policy = linear({ stepMs: 100, maxMs: 1_000 });
  expect(attempts.map((attempt) => policy.delayMs(attempt, () => 0))).toEqual([50, 100, 150, 500]);
  expect(attempts.map((attempt) => policy.delayMs(attempt, () => 1))).toEqual([
    100, 200, 300, 1_000,
  ]);
  expect(() => fixed({ delayMs: -1 })).toThrow(/delayMs/u);
  expect(() => linear({ stepMs: Number.NaN })).toThrow(/stepMs/u);
});
