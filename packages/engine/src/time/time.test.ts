import { array, assert, boolean, nat, property, record } from "fast-check";
import { describe, expect, it } from "vitest";

import { realClock, virtualClock } from "./clock.ts";
import { parseDeadlineMs, parseDurationMs } from "./duration.ts";
import { createExpiringMap } from "./expiring-map.ts";
import { seededRandom } from "./random.ts";
import { createTimerQueue } from "./timer-queue.ts";

describe("parseDurationMs", () => {
  it.each([
    ["15m", 900_000],
    ["1d12h", 129_600_000],
    ["1w", 604_800_000],
    ["1.5h", 5_400_000],
    ["250ms", 250],
    ["0", 0],
    ["-5s", -5_000],
  ])("reads %s", (text, ms) => {
    expect(parseDurationMs(text)).toBe(ms);
  });

  it.each(["", "5", "5x", "m5", "5m later"])("refuses %j", (text) => {
    expect(parseDurationMs(text)).toBeUndefined();
  });

  it("reads a deadline as a duration or a time", () => {
    expect(parseDeadlineMs("1s", 500)).toBe(1_500);
    expect(parseDeadlineMs("2026-01-01T00:00:00Z", 0)).toBe(Date.UTC(2026, 0, 1));
    expect(parseDeadlineMs("tomorrow", 0)).toBeUndefined();
  });
});

describe("virtual clock", () => {
  it("takes a stamp of this moment as its own present and keeps every other", () => {
    const clock = virtualClock({ start: 1_000, machineNow: () => 5_000_000 });
    expect(clock.adopt(5_000_100)).toBe(1_000);
    expect(clock.adopt(9_000_000)).toBe(9_000_000);
    expect(() => virtualClock({ start: "soon" })).toThrow(/no time/);
  });

  it("is the only one that moves", () => {
    const clock = virtualClock({ start: 0 });
    clock.moveTo(10);
    clock.moveTo(5);
    expect(clock.now()).toBe(10);
    expect(() => realClock().moveTo(0)).toThrow(/virtualClock/);
  });
});

describe("timer queue", () => {
  it("runs tasks by time, and by the order of asking within one time", () => {
    assert(
      property(
        array(record({ at: nat(20), isCancelled: boolean() }), { maxLength: 60 }),
        (tasks) => {
          const clock = virtualClock({ start: 0 });
          const timers = createTimerQueue({ clock, onDue: () => {} });
          const ran: number[] = [];
          const made = tasks.map((task, index) => timers.at(task.at, () => ran.push(index)));
          for (const [index, task] of tasks.entries()) if (task.isCancelled) made[index]?.cancel();
          clock.moveTo(20);
          while (timers.runDue());
          const expected = tasks
            .map((task, index) => ({ ...task, index }))
            .filter((task) => !task.isCancelled)
            .toSorted((a, b) => a.at - b.at || a.index - b.index)
            .map((task) => task.index);
          expect(ran).toEqual(expected);
          expect(timers.nextAtMs()).toBeUndefined();
        },
      ),
    );
  });
});

describe("expiring map", () => {
  it("forgets an entry after its life, counted from its last setting", () => {
    const map = createExpiringMap<number>(100);
    map.set("a", 1, 0);
    map.set("b", 2, 50);
    map.set("a", 3, 60);
    expect(map.get("a", 159)).toBe(3);
    expect(map.get("b", 150)).toBeUndefined();
    map.set("c", 4, 170);
    expect(map.size).toBe(1);
  });
});

function draw(seed: number): number[] {
  return Array.from({ length: 100 }, seededRandom(seed));
}

describe("seeded random", () => {
  it("gives one sequence per seed, all within [0, 1)", () => {
    expect(draw(1)).toEqual(draw(1));
    expect(draw(1)).not.toEqual(draw(2));
    expect(draw(3).every((value) => value >= 0 && value < 1)).toBe(true);
  });
});
