import { describe, expect, it } from "vitest";

import { createGcra } from "./gcra.ts";

function admitTimes(
  pace: { limit: number; periodMs: number; burst: number },
  count: number,
): number[] {
  const gcra = createGcra();
  const times: number[] = [];
  let nowMs = 1_000_000;
  while (times.length < count) {
    const admission = gcra.admit("key", pace, nowMs);
    if (admission.isAllowed) times.push(nowMs - 1_000_000);
    else nowMs = admission.retryAtMs;
  }
  return times;
}

describe("gcra", () => {
  it("admits at an even pace", () => {
    expect(admitTimes({ limit: 4, periodMs: 60_000, burst: 0 }, 4)).toEqual([
      0, 15_000, 30_000, 45_000,
    ]);
  });

  it("admits a burst at once, and then at the pace", () => {
    expect(admitTimes({ limit: 10, periodMs: 60_000, burst: 1 }, 4)).toEqual([0, 0, 6_000, 12_000]);
  });

  it("counts each key by itself", () => {
    const gcra = createGcra();
    const pace = { limit: 1, periodMs: 1_000, burst: 0 };
    expect(gcra.admit("a", pace, 0).isAllowed).toBe(true);
    expect(gcra.admit("a", pace, 0)).toEqual({ isAllowed: false, retryAtMs: 1_000 });
    expect(gcra.admit("b", pace, 0).isAllowed).toBe(true);
  });
});
