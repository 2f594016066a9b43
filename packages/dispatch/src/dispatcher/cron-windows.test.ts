import fc from "fast-check";
import { expect, test } from "vitest";

import { defineSchedule, type Schedule } from "../schedule/schedule.ts";
import { cronPatterns, matchesBetween, readWallClock, textOf } from "../testing/wall-clock.ts";
import { createDispatcher, type Dispatcher } from "./dispatcher.ts";
import type { OutgoingEvent } from "./prepared-dispatch.ts";

const dayMs = 86_400_000;
const beginsMs = Date.parse("2026-01-01T00:00:00Z");
const endsMs = Date.parse("2028-01-01T00:00:00Z");

/** Without summer time, with it in either half of the year, with gaps at midnight, of half an hour, of two hours. */
const zones = [
  "UTC",
  "Africa/Cairo",
  "Africa/Casablanca",
  "America/Havana",
  "America/Los_Angeles",
  "America/New_York",
  "America/Nuuk",
  "America/Santiago",
  "America/Sao_Paulo",
  "America/St_Johns",
  "Antarctica/Troll",
  "Asia/Beirut",
  "Asia/Jerusalem",
  "Asia/Kathmandu",
  "Asia/Tokyo",
  "Australia/Lord_Howe",
  "Europe/Berlin",
  "Europe/London",
  "Pacific/Chatham",
  "Pacific/Kiritimati",
];

function dispatcherOf(schedule: Schedule, sent: OutgoingEvent[]): Dispatcher {
  return createDispatcher({
    send: (events) => Promise.resolve(sent.push(...events)),
    config: {
      useInngest: { enabled: true, because: "test" },
      windowSeconds: 60,
    },
    environment: "test",
    owner: "host-1",
    schedules: [schedule],
  });
}

test.each(zones)(
  "in %s every cron expression's windows begin at its times, tile two years, and are dispatched",
  async (timeZone) => {
    const clock = readWallClock(timeZone, beginsMs - 400 * dayMs, endsMs + 400 * dayMs);
    const changes = clock.changes.filter((ms) => ms > beginsMs && ms < endsMs);
    const anywhere = fc.integer({ min: beginsMs, max: endsMs });
    const nearby = fc.integer({ min: -2 * dayMs, max: 2 * dayMs });
    // Half of them around a change of the clock, where there is one.
    const instants =
      changes.length === 0
        ? anywhere
        : fc.oneof(
            anywhere,
            fc.tuple(fc.constantFrom(...changes), nearby).map(([at, by]) => at + by),
          );
    await fc.assert(
      fc.asyncProperty(cronPatterns, instants, async (pattern, atMs) => {
        const schedule = defineSchedule({ id: "s", cron: textOf(pattern), timeZone });
        const { start, seconds } = schedule.windowAt(new Date(atMs));
        const startMs = start.getTime();
        const endMs = startMs + seconds * 1_000;
        const [fromMs, untilMs] = [atMs - 2 * dayMs, atMs + 2 * dayMs];
        const before = matchesBetween(pattern, clock, fromMs, atMs);
        const after = matchesBetween(pattern, clock, atMs + 1, untilMs);
        // Where none is so near, the window reaches beyond.
        expect(startMs >= fromMs ? startMs : undefined).toBe(before.at(-1));
        expect(endMs <= untilMs ? endMs : undefined).toBe(after[0]);
        expect([startMs <= atMs, endMs > atMs]).toEqual([true, true]);
        expect(schedule.windowAt(new Date(endMs)).start.getTime()).toBe(endMs);
        expect(schedule.windowAt(new Date(endMs - 1)).start.getTime()).toBe(startMs);

        const sent: OutgoingEvent[] = [];
        const scheduledAt = new Date(atMs);
        const dispatcher = dispatcherOf(schedule, sent);
        const receipt = await dispatcher.dispatch({ schedule: "s", source: "cron", scheduledAt });
        const windowStart = start.toISOString();
        expect(receipt).toMatchObject({
          mode: "dispatch-only",
          windowStart,
          windowSeconds: seconds,
        });
        expect(sent.map(({ data }) => data)).toMatchObject([
          { dispatchWindowStart: windowStart, dispatchWindowSeconds: seconds },
          { dispatchWindowStart: windowStart, dispatchWindowSeconds: seconds },
        ]);
      }),
      { numRuns: 40 },
    );
  },
);

test.each([
  ["weekly", "0 7 * * 1", 7 * 86_400, "2028-01-01"],
  ["daily, at the end of summer time", "0 7 * * *", 90_000, "2028-01-01"],
  ["on weekdays", "0 7 * * 1-5", 3 * 86_400 + 3_600, "2028-01-01"],
  ["monthly", "0 0 1 * *", 31 * 86_400 + 3_600, "2028-01-01"],
  ["on leap days", "0 0 29 2 *", 1_461 * 86_400, "2034-01-01"],
  ["on the fifth Monday of February", "0 0 * 2 1#5", 10_227 * 86_400, "2078-01-01"],
])("a window of a schedule that is due %s is dispatched", async (_, cron, seconds, until) => {
  const schedule = defineSchedule({ id: "s", cron, timeZone: "Europe/Berlin" });
  const windows = schedule.windowsBetween(new Date(beginsMs), new Date(until), 1_000);
  const window = windows.find((of) => of.seconds === seconds);
  const scheduledAt = window?.start ?? new Date(Number.NaN);
  const sent: OutgoingEvent[] = [];
  const dispatcher = dispatcherOf(schedule, sent);
  const receipt = await dispatcher.dispatch({ schedule: "s", source: "cron", scheduledAt });
  expect(receipt).toMatchObject({ mode: "dispatch-only", windowSeconds: seconds });
  expect(sent).toHaveLength(2);
});
