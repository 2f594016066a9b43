import { expect, test } from "vitest";

import { readThroughSuspension, systemClock } from "./clock.ts";

/** Two clocks that a test moves apart. */
function createClocks() {
  const clocks = { monotonicMs: 500, wallMs: 1_700_000_000_000 };
  const read = readThroughSuspension(
    () => clocks.monotonicMs,
    () => clocks.wallMs,
  );
  const pass = (byMs: number): void => {
    clocks.monotonicMs += byMs;
    clocks.wallMs += byMs;
  };
  return { clocks, read, pass };
}

test("time passes while the machine is suspended, when the monotonic clock stands", () => {
  const { clocks, read, pass } = createClocks();
  const startMs = read();
  pass(250);
  expect(read() - startMs).toBe(250);
  clocks.wallMs += 3_600_000;
  expect(read() - startMs).toBe(3_600_250);
  pass(50);
  expect(read() - startMs).toBe(3_600_300);
});

test("a wall clock that is adjusted moves nothing, and one that is set back makes nothing go back", () => {
  const { clocks, read, pass } = createClocks();
  const startMs = read();
  for (let adjustment = 0; adjustment < 100; adjustment += 1) {
    pass(10);
    clocks.wallMs += 20;
    read();
  }
  expect(read() - startMs).toBe(1_000);
  clocks.wallMs -= 86_400_000;
  expect(read() - startMs).toBe(1_000);
  pass(5);
  expect(read() - startMs).toBe(1_005);
});

test("the system's clock never goes back", () => {
  const first = systemClock.now();
  expect(systemClock.now()).toBeGreaterThanOrEqual(first);
});
