import fc from "fast-check";
import { expect, test } from "vitest";

import { defineSchedule } from "./schedule.ts";

const day = 24 * 60 * 60 * 1_000;

function startsOf(cron: string, timeZone: string, from: string, days: number): string[] {
  const schedule = defineSchedule({ id: "s", cron, timeZone });
  const after = new Date(from);
  const windows = schedule.windowsBetween(after, new Date(after.getTime() + days * day), 100);
  return windows.map(({ start }) => start.toISOString());
}

test("a wall-clock time comes once on the day that clocks go forward, also when it does not exist", () => {
  expect(startsOf("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", 4)).toHaveLength(3);
  expect(startsOf("30 7 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", 4)).toEqual([
    "2026-03-28T06:30:00.000Z",
    "2026-03-29T05:30:00.000Z",
    "2026-03-30T05:30:00.000Z",
  ]);
});

test("a wall-clock time comes once on the day that clocks go back, also when it exists twice", () => {
  const starts = startsOf("30 2 * * *", "Europe/Berlin", "2026-10-23T12:00:00Z", 4);
  expect(starts.map((start) => start.slice(0, 10))).toEqual([
    "2026-10-24",
    "2026-10-25",
    "2026-10-26",
  ]);
});

test("each of several times of a day comes once on the days that clocks change", () => {
  for (const from of ["2026-03-27T12:00:00Z", "2026-10-23T12:00:00Z"]) {
    const starts = startsOf("30 2,14 * * *", "Europe/Berlin", from, 4);
    const days = Object.groupBy(starts, (start) => start.slice(0, 10));
    // The first day and the last are cut off.
    expect(Object.values(days).map((of) => of?.length)).toEqual([1, 2, 2, 2]);
  }
});

test.each(["*/15 * * * *", "0 * * * *", "30 2 * * *", "0 9 * * 1-5", "0 0 1 * *"])(
  "the windows of %j hold their instants and tile time, over every edge of summer time",
  (cron) => {
    const schedule = defineSchedule({ id: "s", cron, timeZone: "America/New_York" });
    const instants = fc.date({
      min: new Date("2025-01-01T00:00:00Z"),
      max: new Date("2027-12-31T00:00:00Z"),
      noInvalidDate: true,
    });
    fc.assert(
      fc.property(instants, (at) => {
        const window = schedule.windowAt(at);
        const endMs = window.start.getTime() + window.seconds * 1_000;
        expect(window.start.getTime()).toBeLessThanOrEqual(at.getTime());
        expect(endMs).toBeGreaterThan(at.getTime());
        expect(schedule.windowAt(window.start)).toEqual(window);
        expect(schedule.windowAt(new Date(endMs)).start.getTime()).toBe(endMs);
      }),
    );
  },
);

test("windows between two instants are whole, in order, and the newest of many", () => {
  const schedule = defineSchedule({ id: "s", every: 60 });
  const windows = schedule.windowsBetween(
    new Date("2026-01-01T00:00:00Z"),
    new Date("2026-01-01T00:05:30Z"),
    3,
  );
  expect(windows.map(({ start }) => start.toISOString())).toEqual([
    "2026-01-01T00:02:00.000Z",
    "2026-01-01T00:03:00.000Z",
    "2026-01-01T00:04:00.000Z",
  ]);
});

test.each([
  {},
  { every: 60, cron: "* * * * *" },
  { every: 14 },
  { every: 86_401 },
  { every: 60, timeZone: "Europe/Berlin" },
  { cron: "not a cron" },
  { cron: "* * * * *", timeZone: "Mars/Olympus" },
  { cron: "0 0 30 2 *" },
  { every: 60, catchUp: { max: 0 } },
])("the settings %j are refused", (settings) => {
  expect(() => defineSchedule({ id: "s", ...settings })).toThrow(
    expect.objectContaining({ code: "invalid_schedule" }),
  );
});
