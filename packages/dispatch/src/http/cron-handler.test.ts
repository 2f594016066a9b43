import { silentLogger } from "@evenkeel/core";
import { expect, test } from "vitest";

import { createDispatcher, type Dispatcher } from "../dispatcher/dispatcher.ts";
import type { DispatchRequest } from "../dispatcher/prepared-dispatch.ts";
import { defineSchedule } from "../schedule/schedule.ts";
import { createCronHandler } from "./cron-handler.ts";

const now = new Date("2026-01-01T00:10:30Z");
const url = "http://127.0.0.1/api/cron/background-jobs";

/** A real dispatcher without a ledger: enough for what the route itself decides. */
function dispatcherThat(send: () => Promise<unknown> = () => Promise.resolve()): Dispatcher {
  return createDispatcher({
    send,
    config: {
      useInngest: { enabled: true, because: "test" },
      windowSeconds: 60,
    },
    environment: "test",
    owner: "host-1",
    clock: { now: () => now },
  });
}

function handlerWith(
  dispatcher: Pick<Dispatcher, "dispatch">,
  cronSecrets: readonly string[] = ["current", "previous"],
): (request: Request) => Promise<Response> {
  return createCronHandler({ dispatcher, cronSecrets, clock: { now: () => now } });
}

function tick(headers: Record<string, string> = {}, method = "GET"): Request {
  return new Request(url, { method, headers: { authorization: "Bearer current", ...headers } });
}

test.each(["GET", "POST"])(
  "%s with the secret dispatches, and the body is the receipt",
  async (method) => {
    const response = await handlerWith(dispatcherThat())(tick({}, method));
    expect(response.status).toBe(202);
    expect(response.headers.get("cache-control")).toBe("no-store");
    expect(await response.json()).toMatchObject({
      mode: "dispatch-only",
      schedule: "background-jobs",
      dispatchKey: "background-jobs|v1|global|60|2026-01-01T00:10:00.000Z",
      tracking: false,
      correlationId: response.headers.get("x-correlation-id"),
    });
  },
);

test.each(["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])("%s is not allowed", async (method) => {
  const response = await handlerWith(dispatcherThat())(tick({}, method));
  expect(response.status).toBe(405);
  expect(response.headers.get("allow")).toBe("GET, POST");
});

test("the previous secret is accepted while it rotates", async () => {
  const handler = handlerWith(dispatcherThat());
  expect((await handler(tick({ authorization: "Bearer previous" }))).status).toBe(202);
});

test.each([
  ["nothing", ""],
  ["another secret", "Bearer wrong"],
  ["the secret with more", "Bearer current1"],
  ["a prefix of the secret", "Bearer curren"],
  ["the secret without a scheme", "current"],
  ["another scheme", "Basic current"],
])("%s gets 401 without a hint", async (_case, authorization) => {
  const request = new Request(url, authorization === "" ? {} : { headers: { authorization } });
  const response = await handlerWith(dispatcherThat(), ["current"])(request);
  expect(response.status).toBe(401);
  expect(response.headers.get("www-authenticate")).toBe("Bearer");
  expect(await response.json()).toEqual({ error: "unauthorized" });
});

test("refused ticks are counted, and logged once a minute without what was presented", async () => {
  const lines: unknown[] = [];
  let at = now.getTime();
  const handler = createCronHandler({
    dispatcher: dispatcherThat(),
    cronSecrets: ["current"],
    clock: { now: () => new Date(at) },
    logger: { ...silentLogger, warn: (event, fields) => void lines.push([event, fields]) },
  });
  for (const authorization of ["Bearer guess-1", "Bearer guess-2", "Basic guess-3"]) {
    await handler(tick({ authorization }));
  }
  at += 60_000;
  await handler(new Request(url));
  await handler(tick());
  expect(lines).toEqual([
    ["cron.refused", { presented: "an unknown secret", refused: 1, sinceLastLine: 1 }],
    ["cron.refused", { presented: "nothing", refused: 4, sinceLastLine: 3 }],
  ]);
});

test("without a configured secret the endpoint is closed, whatever is presented", async () => {
  const handler = handlerWith(dispatcherThat(), []);
  for (const authorization of ["Bearer ", "Bearer undefined", "Bearer x"]) {
    const response = await handler(tick({ authorization }));
    expect(response.status).toBe(503);
    expect(await response.json()).toMatchObject({ mode: "not-configured" });
  }
});

test("a failed send gets 503 with Retry-After and without the cause's secrets", async () => {
  const failing = dispatcherThat(() =>
    Promise.reject(new Error("https://user:hunter2@inn.gs refused")),
  );
  const response = await handlerWith(failing)(tick());
  expect(response.status).toBe(503);
  expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
  const body = await response.text();
  expect(JSON.parse(body)).toMatchObject({ mode: "dispatch-failed" });
  expect(body).not.toContain("hunter2");
});

test("a late tick belongs to the window it was scheduled for", async () => {
  const scheduled = { "x-evenkeel-scheduled-at": "2026-01-01T01:08:59+01:00" };
  const response = await handlerWith(dispatcherThat())(tick(scheduled));
  expect(await response.json()).toMatchObject({ windowStart: "2026-01-01T00:08:00.000Z" });
});

test.each([
  "yesterday",
  "2026-01-01",
  "2026-01-01T00:08:00",
  "2025-12-30T00:00:00Z",
  "2026-01-01T00:20:00Z",
  "2026-13-01T00:00:00Z",
])("the scheduled time %s gets 400", async (value) => {
  const response = await handlerWith(dispatcherThat())(tick({ "x-evenkeel-scheduled-at": value }));
  expect(response.status).toBe(400);
  expect(await response.json()).toMatchObject({ error: "invalid_scheduled_time" });
});

test("a correlation id is kept when it is plain, and replaced when it is not", async () => {
  const seen: (string | undefined)[] = [];
  const dispatcher = dispatcherThat();
  const handler = handlerWith({
    dispatch: (request: DispatchRequest) => {
      seen.push(request.correlationId);
      return dispatcher.dispatch(request);
    },
  });
  await handler(tick({ "x-correlation-id": "trace-1:a/b" }));
  await handler(tick({ "x-correlation-id": "has spaces" }));
  await handler(tick({ "x-correlation-id": "x".repeat(201) }));
  expect(seen).toEqual(["trace-1:a/b", undefined, undefined]);
});

test("an unforeseen failure gets 500 and tells nothing", async () => {
  const handler = handlerWith({ dispatch: () => Promise.reject(new Error("password=hunter2")) });
  const response = await handler(tick());
  expect(response.status).toBe(500);
  expect(await response.json()).toEqual({ error: "internal" });
});

const nightly = defineSchedule({ id: "nightly", cron: "0 3 * * *", params: ["region"] });
const digest = defineSchedule({ id: "digest", every: 3_600, scope: "tenant" });

function scheduleHandler(): (request: Request) => Promise<Response> {
  const schedules = [nightly, digest];
  const dispatcher = createDispatcher({
    send: () => Promise.resolve(),
    config: {
      useInngest: { enabled: true, because: "test" },
      windowSeconds: 60,
    },
    environment: "test",
    owner: "host-1",
    clock: { now: () => now },
    schedules,
  });
  return createCronHandler({ dispatcher, cronSecrets: ["current"], schedules });
}

test.each([
  ["nightly", 202, "nightly|v1|global|86400|2025-12-31T03:00:00.000Z"],
  ["digest?tenant=acme", 202, "digest|v1|tenant:acme|3600|2026-01-01T00:00:00.000Z"],
  ["nightly?region=eu", 202, expect.stringContaining("|86400|2025-12-31T03:00:00.000Z|")],
])("the schedule %s is dispatched by the windows of its own", async (path, status, dispatchKey) => {
  const response = await scheduleHandler()(
    new Request(`http://127.0.0.1/api/cron/${path}`, {
      headers: { authorization: "Bearer current" },
    }),
  );
  expect(response.status).toBe(status);
  expect(await response.json()).toMatchObject({ dispatchKey });
});

test.each([
  ["unheard-of", 404, "unknown_schedule"],
  ["nightly?tenant=acme", 400, "invalid_scope"],
  ["digest", 400, "invalid_scope"],
  ["digest?tenant=", 400, "invalid_tenant"],
  ["nightly?color=red", 400, "invalid_params"],
  ["nightly?region=eu&region=us", 400, "invalid_params"],
])("the tick for %s gets %i", async (path, status, error) => {
  const response = await scheduleHandler()(
    new Request(`http://127.0.0.1/api/cron/${path}`, {
      headers: { authorization: "Bearer current" },
    }),
  );
  expect(response.status).toBe(status);
  expect(await response.json()).toMatchObject({ error });
});

test.each([
  ["dispatch-only", 202],
  ["dispatch-duplicate-suppressed", 200],
  ["dispatch-failed", 503],
  ["inline-emergency-fallback", 200],
  ["inline-forced", 200],
  ["paused", 200],
  ["skipped-overlap", 200],
  ["ledger-not-ready", 503],
  ["not-configured", 503],
] as const)("a receipt of mode %s has status %i", async (mode, status) => {
  const dispatcher = dispatcherThat();
  const handler = handlerWith({
    dispatch: async (request) => ({ ...(await dispatcher.dispatch(request)), mode }),
  });
  expect((await handler(tick())).status).toBe(status);
});
