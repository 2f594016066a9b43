import { expect, test } from "vitest";

import { checkEvent, isCheckedEvent } from "./checked-event.ts";
import { processRequested } from "./dispatch-events.ts";

const data = {
  source: "cron",
  requestedAt: "2026-01-01T00:00:01.000Z",
  dispatchKey: "background-jobs|v1|global|60|2026-01-01T00:00:00.000Z",
  correlationId: "c-1",
  dispatchWindowStart: "2026-01-01T00:00:00.000Z",
  dispatchWindowSeconds: 60,
  schemaVersion: 1,
  lane: "stable",
  schedule: "background-jobs",
};

test("a checked event holds the contract's fields, cannot change, and is known as checked", () => {
  const event = checkEvent(processRequested, { id: "e-1", data: { ...data, later: true } });
  expect(event).toEqual({ id: "e-1", name: "background/process.requested", data });
  expect(Object.isFrozen(event) && Object.isFrozen(event.data)).toBe(true);
  expect(isCheckedEvent(event)).toBe(true);
});

test("a copy does not count as checked", () => {
  const event = checkEvent(processRequested, { id: "e-1", data });
  expect(isCheckedEvent({ ...event })).toBe(false);
});

test("data that breaks the contract, or is too large, makes no event", () => {
  expect(() =>
    checkEvent(processRequested, { id: "e-1", data: { ...data, lane: "fast" } }),
  ).toThrow(expect.objectContaining({ code: "invalid_payload" }));
  const params = { text: "x".repeat(600 * 1024) };
  expect(() => checkEvent(processRequested, { id: "e-1", data: { ...data, params } })).toThrow(
    expect.objectContaining({ code: "payload_too_large" }),
  );
});
