import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { ClaimWatermarks } from "./watermarks.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** How long a watermark is good after a full scan that took so long, in milliseconds. */
function goodForMs(tookMs: number): number {
  const watermarks = new ClaimWatermarks();
  watermarks.begin("k", "2026-01-01", tookMs, 0);
  watermarks.begin("k", "2026-01-01", tookMs, 0);
  for (let ms = 0; ; ms += 100) {
    if (watermarks.find("k") === undefined) return ms;
    vi.advanceTimersByTime(100);
  }
}

test("a watermark is good for fifty times what the full look took, up to five seconds", () => {
  expect([10, 30, 80, 10_000].map(goodForMs)).toEqual([500, 1_500, 4_000, 5_000]);
});

test("there is none where full looks are quick for what they bring, or only one was slow", () => {
  const watermarks = new ClaimWatermarks();
  watermarks.begin("k", "2026-01-01", 20, 1_000);
  watermarks.begin("k", "2026-01-01", 20, 1_000);
  expect(watermarks.find("k")).toBeUndefined();
  watermarks.begin("k", "2026-01-01", 20, 0);
  expect(watermarks.find("k")).toBeUndefined();
});

test("it is lowered to what becomes available below it", () => {
  const watermarks = new ClaimWatermarks();
  watermarks.begin("k", "2026-01-02", 20, 0);
  watermarks.begin("k", "2026-01-02", 20, 0);
  watermarks.lower("2026-01-03");
  expect(watermarks.find("k")).toBe("2026-01-02");
  watermarks.lower("2026-01-01");
  expect(watermarks.find("k")).toBe("2026-01-01");
});

test("a watermark that rises is good for no longer, and one that was cleared does not rise", () => {
  const watermarks = new ClaimWatermarks();
  watermarks.begin("k", "2026-01-01", 10, 0);
  watermarks.begin("k", "2026-01-01", 10, 0);
  vi.advanceTimersByTime(100);
  watermarks.raise("k", "2026-01-02");
  expect(watermarks.find("k")).toBe("2026-01-02");
  vi.advanceTimersByTime(400);
  expect(watermarks.find("k")).toBeUndefined();
  watermarks.raise("k", "2026-01-03");
  expect(watermarks.find("k")).toBeUndefined();
});
