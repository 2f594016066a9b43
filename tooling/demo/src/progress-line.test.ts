import { expect, test } from "vitest";

import { progressLine, type Snapshot } from "./progress-line.ts";

const snapshot: Snapshot = {
  jobs: {
    due: 1_204,
    scheduled: 480,
    running: 20,
    succeeded: 5_312,
    retried: 96,
    dead: 7,
    cancelled: 0,
  },
  runs: 3,
  windows: 34,
  ticks: { sent: 102, dispatched: 34, suppressed: 66, idle: 0, failed: 2 },
};

test("the progress line fits every width, and says what is done from 20 columns on", () => {
  for (let width = 1; width <= 220; width += 1) {
    const line = progressLine("  12 s", snapshot, width);
    expect(line.length).toBeLessThanOrEqual(width);
    expect(width < 20 || line.includes("done 5312")).toBe(true);
  }
});

test("the usual terminal of 80 columns shows what waits, runs, is done and is dead", () => {
  const line = progressLine("  12 s", snapshot, 79);
  expect(line).toMatch(/due 1204, scheduled 480, running 20, done 5312, dead 7$/u);
});
