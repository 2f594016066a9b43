import { isCheckedEvent } from "@evenkeel/events";
import type { RepairReason, WindowRepair } from "@evenkeel/ledger";
import { expect, test } from "vitest";

import { prepare, prepareRepair, type DispatchContext } from "./prepared-dispatch.ts";

const start = new Date("2026-01-01T00:00:00Z");
const context: DispatchContext = {
  window: { start, seconds: 60 },
  lane: "stable",
  environment: "test",
  requestedAt: new Date("2026-01-01T00:00:30Z"),
  correlationId: "c-1",
};
const request = { schedule: "background-jobs", source: "cron" };

test("equal requests in one window are equal dispatches, whenever and by whom they are made", () => {
  const one = prepare(request, context);
  const other = prepare(
    { ...request, source: "manual" },
    { ...context, requestedAt: new Date(0), correlationId: "c-2" },
  );
  expect(other.dispatchKey).toBe(one.dispatchKey);
  expect(other.events.map(({ id }) => id)).toEqual(one.events.map(({ id }) => id));
  expect(one.events.map(({ name }) => name)).toEqual([
    "background/process.requested",
    "background/maintenance.requested",
  ]);
  expect(one.events.every(isCheckedEvent)).toBe(true);
});

test("a tenant, parameters and a correlation id of the request's own reach every event", () => {
  const params = { region: "eu" };
  const { events, correlationId } = prepare(
    { ...request, tenantId: "acme", params, correlationId: "of-the-caller" },
    context,
  );
  expect(correlationId).toBe("of-the-caller");
  for (const { data } of events) {
    expect(data).toMatchObject({ tenantId: "acme", params, correlationId: "of-the-caller" });
  }
});

test("the window of a nudge has the process event alone", () => {
  const { events } = prepare(request, { ...context, window: { start, seconds: 1 } });
  expect(events.map(({ name }) => name)).toEqual(["background/process.requested"]);
});

test.each<[RepairReason, number, "sent" | "never sent", string]>([
  ["send_failed", 1, "never sent", ""],
  ["send_failed", 2, "never sent", ""],
  ["send_failed", 2, "sent", ":r2"],
  ["expired", 2, "sent", ":r2"],
  ["never_started", 1, "sent", ""],
  ["never_started", 2, "sent", ":r2"],
  ["stale", 1, "sent", ":r1"],
])(
  "repair %s number %d of a window %s ends its event ids with %j",
  (reason, repairCount, was, suffix) => {
    const { events, dispatchKey } = prepare(request, context);
    const repair = repairOf(reason, repairCount, dispatchKey);
    const enqueuedAt = was === "sent" ? start : null;
    const repaired = prepareRepair(
      { ...repair, window: { ...repair.window, enqueuedAt } },
      context,
    );
    expect(repaired.dispatchKey).toBe(dispatchKey);
    expect(repaired.correlationId).toBe("c-first");
    expect(repaired.events.map(({ id }) => id)).toEqual(events.map(({ id }) => `${id}${suffix}`));
    expect(repaired.events.map(({ data }) => data.lane)).toEqual(["canary", "canary"]);
  },
);

test("a repair sends what its window was to send", () => {
  const { dispatchKey } = prepare(request, context);
  const repair = repairOf("send_failed", 1, dispatchKey);
  for (const name of ["background/process.requested", "background/maintenance.requested"]) {
    const window = { ...repair.window, events: [name] };
    const { events } = prepareRepair({ ...repair, window }, context);
    expect(events.map((event) => event.name)).toEqual([name]);
  }
});

function repairOf(reason: RepairReason, repairCount: number, dispatchKey: string): WindowRepair {
  return {
    reason,
    fence: "f-1",
    window: {
      dispatchKey,
      schedule: request.schedule,
      scope: "global",
      tenantId: null,
      windowStart: start,
      windowSeconds: 60,
      lane: "canary",
      status: "DISPATCHING",
      owner: "host-1",
      correlationId: "c-first",
      events: ["background/process.requested", "background/maintenance.requested"],
      fanOut: null,
      claimCount: 1,
      duplicateCount: 0,
      failureCount: 0,
      lastError: null,
      leaseExpiresAt: null,
      enqueuedAt: null,
      params: null,
      repairCount,
    },
  };
}
