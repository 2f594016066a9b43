import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { ClaimFloors } from "./claim-floors.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** How long a floor is good after a look that took so long, in milliseconds. */
function goodForMs(tookMs: number): number {
  const floors = new ClaimFloors();
  floors.begin("k", "2026-01-01", tookMs);
  for (let ms = 0; ; ms += 100) {
    if (floors.find("k") === undefined) return ms;
    vi.advanceTimersByTime(100);
  }
}

test("a floor is good for fifty times what the look at all there is took, within 0.2 and five seconds", () => {
  expect([0, 10, 30, 80, 10_000].map(goodForMs)).toEqual([200, 500, 1_500, 4_000, 5_000]);
});

test("a floor that rises is good for no longer, and one that was cleared does not rise", () => {
  const floors = new ClaimFloors();
  floors.begin("k", "2026-01-01", 0);
  vi.advanceTimersByTime(100);
  floors.raise("k", "2026-01-02");
  expect(floors.find("k")).toBe("2026-01-02");
  vi.advanceTimersByTime(100);
  expect(floors.find("k")).toBeUndefined();
  floors.raise("k", "2026-01-03");
  expect(floors.find("k")).toBeUndefined();
});
