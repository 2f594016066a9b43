import { randomUUID } from "node:crypto";

import type { LogFields } from "@evenkeel/core";
import { createLedger, type Ledger } from "@evenkeel/ledger";
import { setup, type Setup } from "@evenkeel/test-postgres/testing";
import { afterEach, beforeEach, expect, test } from "vitest";

import { createDispatcher, type Dispatcher } from "../dispatcher/dispatcher.ts";
import type { OutgoingEvent } from "../dispatcher/prepared-dispatch.ts";
import { formatDispatchKey } from "../schedule/dispatch-key.ts";
import { createReconciler, type Reconciler } from "./reconciler.ts";

let t: Setup<Ledger>;
let sent: OutgoingEvent[];
let isUnavailable: boolean;
let breaches: LogFields[];
beforeEach(async () => {
  t = await setup(createLedger);
  sent = [];
  isUnavailable = false;
  breaches = [];
});
afterEach(() => t.close());

function host(owner = "host-1"): { dispatcher: Dispatcher; reconciler: Reconciler } {
  const dispatcher = createDispatcher({
    ledger: t.ledger,
    send: async (events) => {
      if (isUnavailable) throw new Error("unreachable");
      sent.push(...events);
    },
    config: {
      useInngest: { enabled: true, because: "test" },
      windowSeconds: 60,
    },
    environment: "test",
    owner,
  });
  const error = (event: string, fields?: LogFields): void => {
    if (event === "reconcile.window_ran_twice") breaches.push(fields ?? {});
  };
  const logger = { debug() {}, info() {}, warn() {}, error };
  return {
    dispatcher,
    reconciler: createReconciler({ ledger: t.ledger, dispatcher, owner, logger }),
  };
}

const request = { schedule: "background-jobs", source: "cron" };

async function setWindow(assignment: string): Promise<void> {
  await t.database.pool.query(`UPDATE "evenkeel"."background_dispatch_window" SET ${assignment}`);
}

/** Lets the pause after a repair pass. */
async function endPause(): Promise<void> {
  await setWindow("next_repair_at = now()");
}

async function beginRun(dispatchKey: string, runId: string = randomUUID()): Promise<string> {
  await t.ledger.runs.begin({
    runId,
    functionId: "app-process-background-jobs",
    eventName: "background/process.requested",
    dispatchKey,
    owner: "worker-1",
    attempt: 0,
  });
  return runId;
}

test("a window whose sends failed is sent again without a tick", async () => {
  const { dispatcher, reconciler } = host();
  isUnavailable = true;
  const params = { region: "eu" };
  const { dispatchKey } = await dispatcher.dispatch({ ...request, params, tenantId: "t-1" });
  expect(await reconciler.run()).toMatchObject({ repaired: 0, failed: 1 });
  isUnavailable = false;
  expect(await reconciler.run()).toMatchObject({ repaired: 0, failed: 0 });
  await endPause();
  expect(await reconciler.run()).toMatchObject({ repaired: 1, failed: 0 });
  expect(await t.ledger.windows.find(dispatchKey)).toMatchObject({
    status: "ENQUEUED",
    claimCount: 3,
  });
  expect(sent[0]?.data).toMatchObject({
    dispatchKey,
    tenantId: "t-1",
    params,
    source: "reconciler",
  });
  expect(await reconciler.run()).toMatchObject({ repaired: 0, failed: 0 });
});

test("the claim of a host that died is repaired under the ids it would have sent", async () => {
  const { dispatcher, reconciler } = host();
  const first = await dispatcher.dispatch(request);
  await setWindow(
    `"status" = 'DISPATCHING', "enqueued_at" = NULL, "lease_expires_at" = now() - interval '1 second'`,
  );
  sent = [];
  expect(await reconciler.run()).toMatchObject({ repaired: 1 });
  expect(sent.map(({ id }) => id)).toEqual(first.eventIds);
});

test("a window that was sent and never started is sent again: first under its ids, then under new ones", async () => {
  const { dispatcher, reconciler } = host();
  const first = await dispatcher.dispatch(request);
  expect(await reconciler.run()).toMatchObject({ repaired: 0 });
  for (const suffix of ["", ":r2"]) {
    await setWindow(`"enqueued_at" = now() - interval '3 minutes'`);
    await endPause();
    sent = [];
    expect(await reconciler.run()).toMatchObject({ repaired: 1 });
    expect(sent.map(({ id }) => id)).toEqual(first.eventIds.map((id) => `${id}${suffix}`));
  }
  await beginRun(first.dispatchKey);
  await setWindow(`"enqueued_at" = now() - interval '3 minutes'`);
  expect(await reconciler.run()).toMatchObject({ repaired: 0 });
});

test("a run that fell silent is replaced: its window is sent under new ids, and the guard gives way", async () => {
  const { dispatcher, reconciler } = host();
  const { dispatchKey, eventIds } = await dispatcher.dispatch(request);
  const silent = await beginRun(dispatchKey);
  const guard = { functionId: "app-process-background-jobs", dispatchKey, continuation: 0 };
  await t.ledger.guards.take({ ...guard, runId: silent });
  await setWindow(`"enqueued_at" = now() - interval '30 minutes'`);
  await t.database.pool.query(
    `UPDATE "evenkeel"."background_function_run" SET "heartbeat_at" = now() - interval '21 minutes'`,
  );
  sent = [];
  expect(await reconciler.run()).toMatchObject({ repaired: 1, staleRuns: 1 });
  expect(sent.map(({ id }) => id)).toEqual(eventIds.map((id) => `${id}:r1`));
  expect(await t.ledger.guards.take({ ...guard, runId: "replacement" })).toEqual({
    outcome: "taken",
  });
  expect(await t.ledger.guards.take({ ...guard, runId: silent })).toEqual({
    outcome: "held",
    runId: "replacement",
  });
});

test("two runs for one window are reported, and stay on record", async () => {
  const { dispatcher, reconciler } = host();
  const { dispatchKey } = await dispatcher.dispatch(request);
  const runIds = [await beginRun(dispatchKey), await beginRun(dispatchKey)];
  expect(await reconciler.run()).toMatchObject({ breaches: 0, repaired: 0 });
  // One that has begun and then finds the guard taken is no breach; one that worked all the same is.
  const functionId = "app-process-background-jobs";
  await t.ledger.guards.take({ functionId, dispatchKey, continuation: 0, runId: runIds[0]! });
  await t.ledger.runs.finish({ runId: runIds[1]!, functionId, status: "SUCCEEDED" });
  expect(await reconciler.run()).toMatchObject({ breaches: 1, repaired: 0 });
  expect(breaches).toMatchObject([{ dispatchKey, runIds: expect.arrayContaining(runIds) }]);
  expect((await t.ledger.report()).runs.duplicateForWindow).toBe(1);
});

test("many hosts at once repair each window once, within the limit", async () => {
  const { dispatcher } = host();
  isUnavailable = true;
  const ticks = Array.from({ length: 30 }, (_, n) =>
    dispatcher.dispatch({ ...request, schedule: `schedule-${n}` }),
  );
  await Promise.all(ticks);
  isUnavailable = false;
  const reports = await Promise.all([1, 2, 3, 4].map((n) => host(`host-${n}`).reconciler.run()));
  expect(reports.reduce((sum, { repaired }) => sum + repaired, 0)).toBe(30);
  expect(new Set(sent.map(({ id }) => id)).size).toBe(60);
  expect(sent).toHaveLength(60);
});

test("a paused schedule is left alone", async () => {
  const { dispatcher, reconciler } = host();
  isUnavailable = true;
  await dispatcher.dispatch(request);
  isUnavailable = false;
  await t.ledger.asOperator("night-shift").schedules.pause(request.schedule);
  expect(await reconciler.run()).toMatchObject({ repaired: 0, failed: 0 });
  await t.ledger.asOperator("ops").schedules.resume(request.schedule);
  expect(await reconciler.run()).toMatchObject({ repaired: 1 });
});

test("with overlap ruled out, a window is left out while an earlier one's run is under way", async () => {
  const claim = {
    schedule: "s",
    scope: "global",
    windowSeconds: 60,
    lane: "stable",
    owner: "h",
    correlationId: "c",
    leaseMs: 1_000,
    skipOnOverlap: true,
  } as const;
  const at = (minute: number): { dispatchKey: string; windowStart: Date } => ({
    dispatchKey: `s|${minute}`,
    windowStart: new Date(Date.UTC(2026, 0, 1, 0, minute)),
  });
  expect((await t.ledger.windows.claim({ ...claim, ...at(1) })).outcome).toBe("claimed");
  const runId = await beginRun("s|1");
  expect((await t.ledger.windows.claim({ ...claim, ...at(2) })).outcome).toBe("overlap");
  expect(await t.ledger.windows.find("s|2")).toMatchObject({ status: "SKIPPED_OVERLAP" });
  await t.ledger.runs.finish({
    runId,
    functionId: "app-process-background-jobs",
    status: "SUCCEEDED",
  });
  expect((await t.ledger.windows.claim({ ...claim, ...at(2) })).outcome).toBe("duplicate");
  expect((await t.ledger.windows.claim({ ...claim, ...at(3) })).outcome).toBe("claimed");
});

const old = { scheduledAt: new Date(Date.now() - 25 * 60 * 60_000) };

test("a window too old to be repaired gets a dead letter, and an operator can put it back", async () => {
  const { dispatcher, reconciler } = host();
  isUnavailable = true;
  const { dispatchKey } = await dispatcher.dispatch({ ...request, ...old, tenantId: "t-1" });
  isUnavailable = false;
  expect(await reconciler.run()).toMatchObject({ repaired: 0, givenUp: 1 });
  expect(await reconciler.run()).toMatchObject({ repaired: 0, givenUp: 0 });
  const operator = t.ledger.asOperator("ada");
  const [letter] = await operator.deadLetters.list();
  expect(letter).toMatchObject({
    kind: "DISPATCH",
    sourceId: dispatchKey,
    tenantId: "t-1",
    reason: "exhausted",
    error: "unreachable",
  });
  isUnavailable = true;
  expect(await operator.deadLetters.requeue([{ id: letter?.id ?? "" }])).toEqual([letter?.id]);
  expect(await reconciler.run()).toMatchObject({ repaired: 0, failed: 1, givenUp: 0 });
  isUnavailable = false;
  await endPause();
  expect(await reconciler.run()).toMatchObject({ repaired: 1, givenUp: 0 });
  expect(await t.ledger.windows.find(dispatchKey)).toMatchObject({ status: "ENQUEUED" });
});

const day = 24 * 60 * 60_000;

/** Claims a window of another time, now, and lets its send fail. */
async function failWindow(start: Date, seconds: number): Promise<string> {
  const dispatchKey = formatDispatchKey({ schedule: "s", window: { start, seconds } });
  const claim = await t.ledger.windows.claim({
    dispatchKey,
    schedule: "s",
    scope: "global",
    windowStart: start,
    windowSeconds: seconds,
    lane: "stable",
    owner: "host-1",
    correlationId: "c",
    leaseMs: 30_000,
  });
  const fence = claim.outcome === "claimed" ? claim.fence : "";
  expect(await t.ledger.windows.markFailed(dispatchKey, fence, "unreachable")).toBe(true);
  return dispatchKey;
}

test("a long window that is first claimed long after its start is repaired for a day all the same", async () => {
  const { reconciler } = host();
  const dispatchKey = await failWindow(new Date(Date.now() - 3 * day), 7 * 86_400);
  isUnavailable = true;
  expect(await reconciler.run()).toMatchObject({ repaired: 0, failed: 1, givenUp: 0 });
  isUnavailable = false;
  await endPause();
  expect(await reconciler.run()).toMatchObject({ repaired: 1, givenUp: 0 });
  await setWindow(`"enqueued_at" = now() - interval '3 minutes'`);
  await endPause();
  expect(await reconciler.run()).toMatchObject({ repaired: 1, givenUp: 0 });
  // It never starts, and a day has passed.
  await setWindow(
    `"enqueued_at" = now() - interval '3 minutes', "created_at" = now() - interval '25 hours'`,
  );
  expect(await reconciler.run()).toMatchObject({ repaired: 0, givenUp: 1 });
  expect(await t.ledger.windows.find(dispatchKey)).toMatchObject({ status: "ENQUEUED" });
});

test("a long window that was caught up with after its end is repaired for a day from that end", async () => {
  const { reconciler } = host();
  const start = new Date(Date.now() - 8 * day);
  await failWindow(start, 7 * 86_400 + 3_600);
  expect(await reconciler.run()).toMatchObject({ repaired: 1, givenUp: 0 });
  await failWindow(start, 7 * 86_400 - 3_600);
  expect(await reconciler.run()).toMatchObject({ repaired: 0, failed: 0, givenUp: 1 });
});

test("a window that was requeued and failed for another day has a second letter", async () => {
  const { dispatcher, reconciler } = host();
  isUnavailable = true;
  await dispatcher.dispatch({ ...request, ...old });
  await reconciler.run();
  const operator = t.ledger.asOperator("ada");
  const [first] = await operator.deadLetters.list();
  await operator.deadLetters.requeue([{ id: first?.id ?? "" }]);
  await t.database.pool.query(
    `UPDATE "evenkeel"."background_dead_letter" SET "resolved_at" = now() - interval '25 hours'`,
  );
  expect(await reconciler.run()).toMatchObject({ givenUp: 1 });
  expect(await operator.deadLetters.list({ status: "OPEN" })).toMatchObject([
    { previousId: first?.id },
  ]);
});

test("a window sent again and again whose run never starts gets a dead letter in the end", async () => {
  const { dispatcher, reconciler } = host();
  const { dispatchKey } = await dispatcher.dispatch(request);
  await setWindow(`"enqueued_at" = now() - interval '20 minutes'`);
  expect(await reconciler.run()).toMatchObject({ repaired: 1, givenUp: 0 });
  await setWindow(
    `"enqueued_at" = now() - interval '20 minutes', "window_start" = now() - interval '25 hours'`,
  );
  expect(await reconciler.run()).toMatchObject({ repaired: 0, givenUp: 1 });
  expect(await reconciler.run()).toMatchObject({ repaired: 0, givenUp: 0 });
  const operator = t.ledger.asOperator("ada");
  const [letter] = await operator.deadLetters.list();
  expect(letter).toMatchObject({
    kind: "DISPATCH",
    sourceId: dispatchKey,
    error: "The window was sent 2 times and its run never started.",
  });
  expect(await operator.deadLetters.requeue([{ id: letter?.id ?? "" }])).toEqual([letter?.id]);
  expect(await reconciler.run()).toMatchObject({ repaired: 1, givenUp: 0 });
});

test("a window whose run started late after all is not requeued", async () => {
  const { dispatcher, reconciler } = host();
  const { dispatchKey } = await dispatcher.dispatch(request);
  await setWindow(
    `"enqueued_at" = now() - interval '20 minutes', "window_start" = now() - interval '25 hours', "repair_count" = 1`,
  );
  expect(await reconciler.run()).toMatchObject({ givenUp: 1 });
  await beginRun(dispatchKey);
  const operator = t.ledger.asOperator("ada");
  const [letter] = await operator.deadLetters.list();
  expect(await operator.deadLetters.requeue([{ id: letter?.id ?? "" }])).toEqual([]);
});
