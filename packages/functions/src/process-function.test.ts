import type { DrainReport, Runner } from "@evenkeel/jobs";
import { afterEach, expect, test } from "vitest";

import { createEventSender } from "./event-sender.ts";
import { createProcessFunction, type ProcessFunctionOptions } from "./process-function.ts";
import {
  createBackgroundApp,
  windowEvent,
  type BackgroundApp,
  type BackgroundAppOptions,
} from "./testing/background-app.ts";

const open: BackgroundApp[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((app) => app.close()));
});

async function start(options?: BackgroundAppOptions): Promise<BackgroundApp> {
  const app = await createBackgroundApp(options);
  open.push(app);
  return app;
}

const functionId = "app-process-background-jobs";

test("a dispatched window drains the queue, and the ledger remembers the run", async () => {
  const app = await start();
  await app.enqueueNotes(40);
  const event = windowEvent();
  await createEventSender(app.client)([event]);
  await app.engine.settled();
  expect(app.notes.toSorted()).toEqual(
    Array.from({ length: 40 }, (_, n) => `note ${n}`).toSorted(),
  );
  const [run] = app.engine.runs({ function: functionId });
  expect(run).toMatchObject({ status: "Completed", output: { outcome: "drained", succeeded: 40 } });
  expect(
    await app.ledger.asOperator("test").runs.find({ runId: run?.id ?? "", functionId }),
  ).toMatchObject({
    status: "SUCCEEDED",
    dispatchKey: event.data.dispatchKey,
    continuation: 0,
    owner: "worker-1",
    output: { outcome: "drained", succeeded: 40 },
    attempts: [{ attempt: 0, owner: "worker-1", error: null }],
  });
  expect(await app.ledger.jobs.counts()).toMatchObject({ due: 0, running: 0, succeeded: 40 });
});

test("a window that was sent while the ledger was unavailable is put on record by its run", async () => {
  const app = await start();
  const event = windowEvent();
  const { dispatchKey } = event.data;
  await createEventSender(app.client)([event]);
  await app.engine.settled();
  expect(await app.ledger.windows.find(dispatchKey)).toMatchObject({
    status: "ENQUEUED",
    schedule: event.data.schedule,
    scope: "global",
    windowStart: new Date(event.data.dispatchWindowStart),
    claimCount: 0,
  });
  expect(await app.ledger.receipt(dispatchKey)).toMatchObject({ progress: "finished" });
});

test("the same window sent again starts nothing; sent after Inngest forgot it, it ends as a duplicate", async () => {
  const app = await start();
  const send = createEventSender(app.client);
  const event = windowEvent();
  await send([event]);
  await app.engine.settled();
  await send([event]);
  await app.engine.settled();
  expect(app.engine.runs({ function: functionId })).toHaveLength(1);

  await app.engine.advance("25h");
  await app.enqueueNotes(3);
  await send([event]);
  await app.engine.settled();
  const [first, second] = app.engine.runs({ function: functionId });
  expect(second).toMatchObject({
    status: "Completed",
    output: { outcome: "skipped_duplicate", duplicateOf: first?.id },
  });
  expect(app.notes).toEqual([]);
  expect(
    await app.ledger.asOperator("test").runs.find({ runId: second?.id ?? "", functionId }),
  ).toMatchObject({
    status: "SKIPPED_DUPLICATE",
    duplicateOf: first?.id,
  });
  expect((await app.ledger.report()).runs.duplicateForWindow).toBe(0);
});

const emptyReport: DrainReport = {
  claimed: 0,
  succeeded: 0,
  retried: 0,
  snoozed: 0,
  dead: 0,
  lost: 0,
  cancelled: 0,
  released: 0,
  delegated: 0,
  remaining: false,
  throttled: false,
  stopped: false,
  unknownTypes: [],
};

test("while due work is left the run continues itself under a deterministic id", async () => {
  let drains = 0;
  const app = await start({
    runBudgetMs: 0,
    wrapRunner: () => ({
      drain: async () => {
        drains += 1;
        return { ...emptyReport, claimed: 1, succeeded: 1, remaining: drains < 4 };
      },
    }),
  });
  const event = windowEvent();
  await createEventSender(app.client)([event]);
  await app.engine.settled();
  expect(drains).toBe(4);
  const sent = app.engine.events({ name: "background/process.requested" });
  expect(sent.map(({ id }) => id)).toEqual(
    ["", ":c1", ":c2", ":c3"].map((suffix) => `${event.id}${suffix}`),
  );
  expect(app.engine.runs({ function: functionId }).map(({ output }) => output)).toMatchObject([
    { outcome: "continued" },
    { outcome: "continued" },
    { outcome: "continued" },
    { outcome: "drained" },
  ]);
  expect((await app.ledger.report()).runs).toMatchObject({ total: 4, duplicateForWindow: 0 });
});

test("a host that stops leaves the rest to the next continuation at once", async () => {
  let drains = 0;
  const app = await start({
    wrapRunner: () => ({
      drain: async () => {
        drains += 1;
        return { ...emptyReport, remaining: drains === 1, stopped: drains === 1 };
      },
    }),
  });
  await createEventSender(app.client)([windowEvent()]);
  await app.engine.settled();
  expect(app.engine.runs({ function: functionId }).map(({ output }) => output)).toMatchObject([
    { outcome: "continued", steps: 1 },
    { outcome: "drained", steps: 1 },
  ]);
});

test("a window's continuations are bounded", async () => {
  let drains = 0;
  const app = await start({
    runBudgetMs: 0,
    maxContinuations: 2,
    wrapRunner: () => ({
      drain: async () => {
        drains += 1;
        return { ...emptyReport, remaining: true };
      },
    }),
  });
  await createEventSender(app.client)([windowEvent()]);
  await app.engine.settled();
  expect(drains).toBe(3);
  expect(app.engine.runs({ function: functionId }).at(-1)).toMatchObject({
    output: { outcome: "bounded" },
  });
});

test("a step ends before its host's limit; numbers out of range are refused when the functions are made", async () => {
  const limits: (number | undefined)[] = [];
  const app = await start({
    hostTimeoutMs: 60_000,
    wrapRunner: () => ({
      drain: async ({ deadlineMs }) => {
        limits.push(deadlineMs);
        return emptyReport;
      },
    }),
  });
  await createEventSender(app.client)([windowEvent()]);
  await app.engine.settled();
  // Counted from the request's beginning.
  expect(limits).toEqual([expect.toSatisfy((ms: number) => ms > 5_000 && ms <= 55_000)]);
  const drain: Runner["drain"] = () => Promise.reject(new Error("not asked"));
  const options = { client: app.client, ledger: app.ledger, runner: { drain } };
  const changes: readonly Partial<ProcessFunctionOptions>[] = [
    { hostTimeoutMs: 24_000 },
    { stepBudgetMs: Number.NaN },
    { maxContinuations: -1 },
    { concurrency: 0 },
  ];
  for (const change of changes) {
    expect(() => createProcessFunction({ ...options, concurrency: 4, ...change })).toThrow(
      expect.objectContaining({ code: "invalid_options" }),
    );
  }
});

test("a step whose drain fails is tried again and repeats nothing that was done", async () => {
  let failures = 0;
  const app = await start({
    wrapRunner: (runner) => ({
      drain: async (options) => {
        const report = await runner.drain(options);
        if (failures < 2) {
          failures += 1;
          throw new Error("The connection was cut after the drain.");
        }
        return report;
      },
    }),
  });
  await app.enqueueNotes(10);
  await createEventSender(app.client)([windowEvent()]);
  await app.engine.advance("10m");
  expect(app.notes).toHaveLength(10);
  const [run] = app.engine.runs({ function: functionId });
  expect(run).toMatchObject({ status: "Completed" });
  const record = await app.ledger
    .asOperator("test")
    .runs.find({ runId: run?.id ?? "", functionId });
  expect(record).toMatchObject({
    status: "SUCCEEDED",
    attempts: [
      { attempt: 0, error: "The connection was cut after the drain." },
      { attempt: 1, error: "The connection was cut after the drain." },
      { attempt: 2, error: null },
    ],
  });
});

test("the sender refuses what does not match its contract, and sends nothing of it", async () => {
  const app = await start();
  const send = createEventSender(app.client);
  const event = windowEvent();
  for (const [data, code, words] of [
    [{ ...event.data, lane: "fast" }, "invalid_payload", /lane/u],
    [{ ...event.data, tenantId: "" }, "invalid_payload", /tenantId/u],
    [{ ...event.data, tenantId: "x".repeat(201) }, "invalid_payload", /tenantId/u],
    [[], "invalid_payload", /object/u],
    ["text", "invalid_payload", /object/u],
    [{ ...event.data, params: { big: "x".repeat(600 * 1024) } }, "payload_too_large", /limit/u],
  ] as const) {
    // Garbage arrives from callers without types.
    const garbage: unknown = { ...event, data };
    await expect(send([event, garbage as typeof event])).rejects.toMatchObject({
      code,
      message: expect.stringMatching(words),
    });
  }
  await expect(send([{ ...event, name: "background/unheard.of" }])).rejects.toMatchObject({
    code: "invalid_payload",
  });
  await app.engine.settled();
  expect(app.engine.events()).toEqual([]);
});
