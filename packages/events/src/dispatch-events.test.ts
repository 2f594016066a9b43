import { expect, test } from "vitest";

import { eventContracts, parseEvent, processRequested } from "./dispatch-events.ts";
import { maintenanceRequestedEvent, processRequestedEvent } from "./inngest.ts";

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

test("an event parses; fields of a later build are dropped", () => {
  expect(parseEvent(processRequested, data)).toEqual(data);
  expect(parseEvent(processRequested, { ...data, tenantId: "t", params: { a: [1] } })).toEqual({
    ...data,
    tenantId: "t",
    params: { a: [1] },
  });
  expect(parseEvent(processRequested, { ...data, later: true })).toEqual(data);
});

test.each([
  ["the last day of summer time", 90_000],
  ["a week", 7 * 86_400],
  ["from one fifth Monday of February to the next", 14_610 * 86_400],
])("a window may be as long as %s", (_, dispatchWindowSeconds) => {
  const long = { ...data, dispatchWindowSeconds };
  expect(parseEvent(processRequested, long)).toEqual(long);
});

test.each([
  [null, "object"],
  [[], "object"],
  ["text", "object"],
  [{}, "dispatchKey"],
  [{ ...data, lane: "fast" }, "lane"],
  [{ ...data, schemaVersion: 2 }, "schemaVersion"],
  [{ ...data, requestedAt: "today" }, "requestedAt"],
  [{ ...data, dispatchWindowSeconds: 0.5 }, "dispatchWindowSeconds"],
  [{ ...data, dispatchWindowSeconds: 2_147_483_648 }, "dispatchWindowSeconds"],
  [{ ...data, tenantId: "" }, "tenantId"],
  [{ ...data, tenantId: "half \ud800" }, "tenantId"],
  [{ ...data, dispatchKey: "nul \u0000" }, "dispatchKey"],
  [{ ...data, correlationId: "half \udfff" }, "correlationId"],
])("%j is refused with the issue named", (value, word) => {
  expect(() => parseEvent(processRequested, value)).toThrow(
    expect.objectContaining({
      code: "invalid_payload",
      message: expect.stringContaining(word),
      data: expect.objectContaining({ name: processRequested.name, version: 1 }),
    }),
  );
});

test("the bindings for Inngest carry each contract's name, version and schema", () => {
  for (const binding of [processRequestedEvent, maintenanceRequestedEvent]) {
    const contract = eventContracts.get(binding.name);
    expect(binding).toMatchObject({ version: String(contract?.version), schema: contract?.schema });
  }
});
