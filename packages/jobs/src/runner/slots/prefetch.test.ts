import fc from "fast-check";
import { expect, test } from "vitest";

import { estimateBytes, movingAverage, stockTarget } from "./prefetch.ts";

const durationMs = fc.double({ min: 0, max: 86_400_000, noNaN: true });
const slots = fc.integer({ min: 1, max: 1_000 });
const batchSize = fc.integer({ min: 1, max: 10_000 });
const small = { averageBytes: 100 };
const mebibyte = 1024 * 1024;

test("the stock stays within the batch size and 64 MiB", () => {
  const bytes = fc.integer({ min: 0, max: 512 * 1024 });
  fc.assert(
    fc.property(durationMs, slots, batchSize, bytes, (averageMs, open, batch, averageBytes) => {
      const stock = stockTarget({ averageMs, averageBytes, slots: open, batchSize: batch });
      expect(Number.isInteger(stock)).toBe(true);
      expect(stock).toBeGreaterThanOrEqual(0);
      expect(stock).toBeLessThanOrEqual(batch);
      expect(stock * averageBytes).toBeLessThanOrEqual(64 * mebibyte);
    }),
  );
});

test("slower jobs are never stocked more", () => {
  fc.assert(
    fc.property(durationMs, durationMs, slots, batchSize, (one, other, open, batch) => {
      const limits = { ...small, slots: open, batchSize: batch };
      const quick = stockTarget({ ...limits, averageMs: Math.min(one, other) });
      const slow = stockTarget({ ...limits, averageMs: Math.max(one, other) });
      expect(slow).toBeLessThanOrEqual(quick);
    }),
  );
});

test("before any job has ended, for jobs slower than the stock's time, and without a slot to pass through, none is stocked", () => {
  const limits = { ...small, slots: 10, batchSize: 500 };
  expect(stockTarget({ ...limits, averageMs: undefined })).toBe(0);
  expect(stockTarget({ ...limits, averageMs: 5_000 })).toBe(0);
  expect(stockTarget({ ...limits, averageMs: 0 })).toBe(500);
  expect(stockTarget({ ...limits, averageMs: 0, slots: 0 })).toBe(0);
});

test("an average lies between what it was and the newest value", () => {
  fc.assert(
    fc.property(durationMs, durationMs, (averageMs, newMs) => {
      const next = movingAverage(averageMs, newMs);
      const slack = 1e-6;
      expect(next).toBeGreaterThanOrEqual(Math.min(averageMs, newMs) - slack);
      expect(next).toBeLessThanOrEqual(Math.max(averageMs, newMs) + slack);
    }),
  );
  expect(movingAverage(undefined, 7)).toBe(7);
});

test("the size of a payload is estimated within a factor of its JSON, and never walks a text or too deep", () => {
  fc.assert(
    fc.property(fc.jsonValue({ noUnicodeString: true }), (value) => {
      const length = JSON.stringify(value).length;
      expect(estimateBytes(value)).toBeGreaterThanOrEqual(length / 6);
      expect(estimateBytes(value)).toBeLessThanOrEqual(length * 10);
    }),
  );
  expect(estimateBytes({ text: "x".repeat(mebibyte) })).toBeGreaterThan(mebibyte);
  let deep: unknown = 1;
  for (let level = 0; level < 100_000; level += 1) deep = [deep];
  expect(estimateBytes(deep)).toBeLessThan(1_000);
});
