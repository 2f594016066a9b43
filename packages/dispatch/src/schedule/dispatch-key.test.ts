import type { JsonValue } from "@evenkeel/core";
import fc from "fast-check";
import { expect, test } from "vitest";

import golden from "../golden-vectors.json" with { type: "json" };
import { formatDispatchKey, formatEventId } from "./dispatch-key.ts";
import { computeWindow } from "./dispatch-window.ts";

test.each(golden.vectors)("the pinned key $dispatchKey and its event ids", (vector) => {
  const { at, windowSeconds, ...target } = vector.target;
  const dispatchKey = formatDispatchKey({
    ...target,
    window: computeWindow(new Date(at), windowSeconds),
  });
  expect(dispatchKey).toBe(vector.dispatchKey);
  for (const { id, ...identity } of vector.eventIds) {
    expect(formatEventId({ ...identity, dispatchKey })).toBe(id);
  }
});

const instants = fc.date({
  min: new Date("1970-01-01T00:00:00Z"),
  max: new Date("2200-01-01T00:00:00Z"),
  noInvalidDate: true,
});
const lengths = fc.integer({ min: 1, max: 86_400 });

test("a window holds its instant, and the windows of one length tile time", () => {
  fc.assert(
    fc.property(instants, lengths, (at, seconds) => {
      const window = computeWindow(at, seconds);
      const endMs = window.start.getTime() + seconds * 1000;
      expect(window.start.getTime()).toBeLessThanOrEqual(at.getTime());
      expect(endMs).toBeGreaterThan(at.getTime());
      expect(computeWindow(window.start, seconds)).toEqual(window);
      expect(computeWindow(new Date(endMs - 1), seconds)).toEqual(window);
      expect(computeWindow(new Date(endMs), seconds).start.getTime()).toBe(endMs);
    }),
  );
});

test.each([0, -1, 1.5, 86_401, Number.NaN])("a window of %s seconds is refused", (seconds) => {
  expect(() => computeWindow(new Date(0), seconds)).toThrow(
    expect.objectContaining({ code: "invalid_window" }),
  );
});

const window = computeWindow(new Date("2026-01-01T00:00:00Z"), 60);
const tenants = fc
  .string({ unit: "binary", minLength: 1, maxLength: 200 })
  .filter((text) => text.length <= 200 && !text.includes("\u0000"));

test("two tenants never share a key, whatever characters their ids hold", () => {
  fc.assert(
    fc.property(tenants, tenants, (a, b) => {
      const keyOf = (tenantId: string): string =>
        formatDispatchKey({ schedule: "background-jobs", window, tenantId });
      expect(keyOf(a) === keyOf(b)).toBe(a === b);
      expect(keyOf(a).split("|")).toHaveLength(5);
    }),
    { numRuns: 500 },
  );
});

test("an event id never holds a tenant's text", () => {
  fc.assert(
    fc.property(tenants, (tenantId) => {
      const dispatchKey = formatDispatchKey({ schedule: "background-jobs", window, tenantId });
      const id = formatEventId({
        name: "background/process.requested",
        schemaVersion: 1,
        environment: "test",
        dispatchKey,
      });
      expect(id).toMatch(/^background\/process\.requested:v1:test:[0-9a-f]{32}$/u);
    }),
  );
});

test("the order of parameters does not matter, their values do", () => {
  const keyOf = (params: Record<string, number>): string =>
    formatDispatchKey({ schedule: "background-jobs", window, params });
  expect(keyOf({ a: 1, b: 2 })).toBe(keyOf({ b: 2, a: 1 }));
  expect(keyOf({ a: 1, b: 2 })).not.toBe(keyOf({ a: 1, b: 3 }));
});

test.each(["", "Upper", "with|bar", "with space", "-leading", "x".repeat(101)])(
  "the schedule id %j is refused",
  (schedule) => {
    expect(() => formatDispatchKey({ schedule, window })).toThrow(
      expect.objectContaining({ code: "invalid_schedule" }),
    );
  },
);

test.each(["", "x".repeat(201), "nul\u0000", "half \ud800"])(
  "the tenant id %j is refused",
  (tenantId) => {
    expect(() => formatDispatchKey({ schedule: "background-jobs", window, tenantId })).toThrow(
      expect.objectContaining({ code: "invalid_tenant" }),
    );
  },
);

test.each([
  Number.NaN,
  Number.POSITIVE_INFINITY,
  undefined,
  () => 1,
  "nul \u0000",
  ["half \ud800"],
])("the parameter %o is refused", (value) => {
  const params = { value } as Record<string, JsonValue>;
  expect(() => formatDispatchKey({ schedule: "background-jobs", window, params })).toThrow(
    expect.objectContaining({ code: "invalid_params" }),
  );
});
