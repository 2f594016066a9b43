import fc from "fast-check";
import { expect, test } from "vitest";

import { countStartable, mayStart } from "./slot-sharing.ts";

const slots = fc.integer({ min: 2, max: 100 });

test("with two slots or more, one tenant alone leaves at least one free, and takes half of them or more", () => {
  for (let count = 2; count <= 100; count += 1) {
    let running = 0;
    const use = { slots: count, surplus: 0, isShared: true };
    while (mayStart(running, { ...use, running })) running += 1;
    expect(running).toBeLessThan(count);
    expect(running).toBeGreaterThanOrEqual(count / 2);
    expect(countStartable(0, { ...use, running: 0 })).toBe(running);
  }
});

test("whoever holds fewer slots may start whenever one that holds more may", () => {
  fc.assert(
    fc.property(slots, fc.nat(200), fc.nat(99), fc.nat(100), fc.nat(100), (...values) => {
      const [count, running, surplus, one, other] = values;
      const use = { slots: count, running, surplus, isShared: true };
      const [fewer, more] = [Math.min(one, other), Math.max(one, other)];
      expect(mayStart(fewer, use) || !mayStart(more, use)).toBe(true);
    }),
  );
});

test("what is counted as startable is what may start one after the other", () => {
  fc.assert(
    fc.property(slots, fc.nat(60), fc.nat(60), fc.nat(20), fc.boolean(), (count, held, ...rest) => {
      const [others, surplus, isShared] = rest;
      const use = { slots: count, running: held + others, surplus, isShared };
      let started = 0;
      const next = (): Parameters<typeof mayStart>[1] => ({
        ...use,
        running: use.running + started,
      });
      while (mayStart(held + started, next())) started += 1;
      expect(countStartable(held, use)).toBe(started);
    }),
  );
});

test("one slot is for whoever comes first; where tenants do not share, one may take all", () => {
  expect(mayStart(0, { slots: 1, running: 0, surplus: 0, isShared: true })).toBe(true);
  expect(mayStart(0, { slots: 1, running: 1, surplus: 0, isShared: true })).toBe(false);
  expect(mayStart(9, { slots: 10, running: 9, surplus: 0, isShared: false })).toBe(true);
  expect(mayStart(0, { slots: 10, running: 10, surplus: 9, isShared: false })).toBe(false);
});
