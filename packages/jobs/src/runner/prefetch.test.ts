import fc from "fast-check";
import { expect, test } from "vitest";

import { averageDuration, prefetchTarget } from "./prefetch.ts";

const durationMs = fc.double({ min: 0, max: 86_400_000, noNaN: true });
const concurrency = fc.integer({ min: 1, max: 1_000 });
const batchSize = fc.integer({ min: 1, max: 10_000 });

test("the stock keeps every slot busy and stays within the batch size", () => {
  fc.assert(
    fc.property(durationMs, concurrency, batchSize, (averageMs, slots, batch) => {
      const stock = prefetchTarget({ averageMs, concurrency: slots, batchSize: batch });
      expect(Number.isInteger(stock)).toBe(true);
      expect(stock).toBeGreaterThanOrEqual(slots);
      expect(stock).toBeLessThanOrEqual(slots + batch);
    }),
  );
});

test("slower jobs are never stocked more", () => {
  fc.assert(
    fc.property(durationMs, durationMs, concurrency, batchSize, (one, other, slots, batch) => {
      const limits = { concurrency: slots, batchSize: batch };
      const quick = prefetchTarget({ ...limits, averageMs: Math.min(one, other) });
      const slow = prefetchTarget({ ...limits, averageMs: Math.max(one, other) });
      expect(slow).toBeLessThanOrEqual(quick);
    }),
  );
});

test("before any job has ended, and for jobs slower than the stock's time, only the slots are filled", () => {
  const limits = { concurrency: 10, batchSize: 500 };
  expect(prefetchTarget({ ...limits, averageMs: undefined })).toBe(10);
  expect(prefetchTarget({ ...limits, averageMs: 5_000 })).toBe(10);
  expect(prefetchTarget({ ...limits, averageMs: 0 })).toBe(510);
});

test("an average lies between what it was and the newest duration", () => {
  fc.assert(
    fc.property(durationMs, durationMs, (averageMs, newMs) => {
      const next = averageDuration(averageMs, newMs);
      const slack = 1e-6;
      expect(next).toBeGreaterThanOrEqual(Math.min(averageMs, newMs) - slack);
      expect(next).toBeLessThanOrEqual(Math.max(averageMs, newMs) + slack);
    }),
  );
  expect(averageDuration(undefined, 7)).toBe(7);
});
