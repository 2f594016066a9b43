import { afterEach, expect, test, vi } from "vitest";

import { atLeast, atMost, below, printReport, quartilesOf } from "./report.ts";

afterEach(() => {
  vi.restoreAllMocks();
});

test("quartiles of five rounds are the second, the third and the fourth, in whatever order they came", () => {
  expect(quartilesOf([1.6, 1.36, 1.5, 1.7, 1.4])).toEqual({ lower: 1.4, median: 1.5, upper: 1.6 });
  expect(quartilesOf([2]).lower).toBe(2);
  expect(quartilesOf([]).median).toBeNaN();
});

test("a bar that is missed is printed as missed, with the figures that it comes from", () => {
  const lines: string[] = [];
  vi.spyOn(console, "log").mockImplementation((line: string) => void lines.push(line));
  const bars = [atLeast("drained", 1.5, 1.4, "quartiles 1.4 1.5 1.6"), atMost("claim", 2, 1)];
  expect(printReport({ bars, rows: [] }, false)).toBe(false);
  expect(lines).toEqual([
    "MISSED  drained  1.4  (>= 1.5; quartiles 1.4 1.5 1.6)",
    "ok      claim    1  (<= 2)",
  ]);
});

test("a bar without a measured value does not hold", () => {
  expect(atLeast("a", 1, Number.NaN).ok).toBe(false);
  expect(atMost("b", 1, Number.NaN).ok).toBe(false);
  expect(below("c", 1, 1).ok).toBe(false);
});
