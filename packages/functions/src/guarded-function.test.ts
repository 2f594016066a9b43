import { defined } from "@evenkeel/core";
import { afterEach, expect, test } from "vitest";

import { createEventSender } from "./event-sender.ts";
import { guarded, type GuardedContext, type GuardedOptions } from "./guarded-function.ts";
import {
  createBackgroundApp,
  windowEvent,
  type BackgroundApp,
  type BackgroundAppOptions,
} from "./testing/background-app.ts";

const minuteMs = 60_000;
const functionId = "app-send-digests";
const open: BackgroundApp[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((app) => app.close()));
});

/** An app with one function of the product's own, which notes what it does. */
async function start(
  handler: (context: GuardedContext, done: string[]) => Promise<unknown>,
  trigger: { schedule: string } | { event: string } = { schedule: "nightly" },
  {
    wrapHandler,
    ...change
  }: Pick<GuardedOptions, "retries"> & Pick<BackgroundAppOptions, "wrapHandler"> = {},
): Promise<{ app: BackgroundApp; done: string[]; outputs: () => unknown[] }> {
  const done: string[] = [];
  const app = await createBackgroundApp({
    ...defined({ wrapHandler }),
    ownFunctions: (client, ledger) => [
      guarded(client, { ...trigger, ...change, ledger, id: "send-digests" }, (context) =>
        handler(context, done),
      ),
    ],
  });
  open.push(app);
  const outputs = (): unknown[] =>
    app.engine.runs({ function: functionId }).map(({ output }) => output);
  return { app, done, outputs };
}

const twoSteps = async ({ step, runId }: GuardedContext, done: string[]): Promise<string> => {
  await step.run("collect", () => void done.push("collect"));
  await step.run("send", () => void done.push("send"));
  return `by ${runId}`;
};

test("a schedule's window starts one run, which knows its window; other schedules, nudges and continuations start none", async () => {
  const { app, outputs } = await start(async ({ window }) => window);
  const tick = { schedule: "nightly", source: "cron", tenantId: "acme", params: { region: "eu" } };
  const { dispatchKey, correlationId } = await app.dispatcher.dispatch(tick);
  await app.dispatcher.dispatch({ schedule: "hourly", source: "cron" });
  await app.dispatcher.nudge({ schedule: "nightly", source: "nudge" });
  const event = windowEvent();
  const data = { ...event.data, schedule: "nightly", source: "continuation", continuation: 1 };
  await createEventSender(app.client)([{ ...event, data }]);
  await app.engine.settled();
  expect(outputs()).toEqual([
    {
      dispatchKey,
      schedule: "nightly",
      start: "2026-01-01T00:00:00.000Z",
      seconds: 60,
      lane: "stable",
      correlationId,
      tenantId: "acme",
      params: { region: "eu" },
    },
  ]);
  const [run] = app.engine.runs({ function: functionId });
  expect(
    await app.ledger.asOperator("test").runs.find({ runId: run?.id ?? "", functionId }),
  ).toMatchObject({ status: "SUCCEEDED", dispatchKey, tenantId: "acme" });
});

test.each([{ schedule: "nightly" }, { event: "shop/nightly.requested" }])(
  "by %j: the same window twice works once, and 25 hours later it ends as a duplicate",
  async (trigger) => {
    const { app, done } = await start(twoSteps, trigger);
    const event = windowEvent();
    const data = { ...event.data, schedule: "nightly", extra: { of: "the product" } };
    const name = "event" in trigger ? trigger.event : event.name;
    const send = (): Promise<unknown> => app.engine.send({ ...event, name, data });
    await send();
    await send();
    await app.engine.settled();
    expect(app.engine.runs({ function: functionId })).toHaveLength(1);

    await app.engine.advance("25h");
    await send();
    await app.engine.settled();
    const [first, second] = app.engine.runs({ function: functionId });
    expect(done).toEqual(["collect", "send"]);
    expect(second).toMatchObject({
      status: "Completed",
      output: { outcome: "skipped_duplicate", duplicateOf: first?.id },
    });
    expect(
      await app.ledger.asOperator("test").runs.find({ runId: second?.id ?? "", functionId }),
    ).toMatchObject({ status: "SKIPPED_DUPLICATE", dispatchKey: event.data.dispatchKey });
    expect((await app.ledger.report()).runs.duplicateForWindow).toBe(0);
  },
);

test("a host that is killed in mid-step: the run goes on elsewhere, and repeats that step alone", async () => {
  let kill = (): void => {};
  const { app, done, outputs } = await start(
    async ({ step, runId }, notes) => {
      await step.run("collect", () => void notes.push("collect"));
      await step.run("send", () => {
        notes.push("send");
        if (notes.filter((note) => note === "send").length > 1) return undefined;
        kill();
        // Whatever the step still waited for, its process is gone.
        return new Promise<undefined>(() => {});
      });
      return `by ${runId}`;
    },
    { schedule: "nightly" },
    {
      wrapHandler: (handler) => (request) =>
        new Promise((resolve, reject) => {
          kill = () => reject(new TypeError("The host was killed."));
          void handler(request).then(resolve, reject);
        }),
    },
  );
  await app.dispatcher.dispatch({ schedule: "nightly", source: "cron" });
  await app.advance(10 * minuteMs);
  const [run] = app.engine.runs({ function: functionId });
  expect(outputs()).toEqual([`by ${run?.id}`]);
  expect(done).toEqual(["collect", "send", "send"]);
  expect((await app.ledger.report()).runs.duplicateForWindow).toBe(0);
});

/** Its second step fails once, so that a call of its own tries it again. */
function failingOnce(
  last: (context: GuardedContext, done: string[]) => Promise<unknown>,
): (context: GuardedContext, done: string[]) => Promise<unknown> {
  let isFirst = true;
  return async (context, done) => {
    await context.step.run("collect", () => void done.push("collect"));
    await context.step.run("render", () => {
      if (!isFirst) return void done.push("render");
      isFirst = false;
      throw new Error("The renderer is away.");
    });
    return last(context, done);
  };
}

test("a run that fell silent is replaced, and when it comes back, its next step does nothing", async () => {
  const { app, done, outputs } = await start(
    failingOnce(async ({ step, runId }, notes) => {
      await step.run("send", () => void notes.push("send"));
      return `by ${runId}`;
    }),
  );
  const { dispatchKey } = await app.dispatcher.dispatch({ schedule: "nightly", source: "cron" });
  await app.engine.settled();
  // The call that is to try its second step again reaches no host for 40 minutes.
  app.engine.faults.delayCalls({ function: functionId, by: "40m" });
  await app.advance(25 * minuteMs);
  expect(done).toEqual(["collect"]);
  // A tick brings maintenance, which finds the silent run and sends the window again.
  await app.dispatcher.dispatch({ schedule: "background-jobs", source: "cron" });
  await app.engine.settled();
  const [first, second] = app.engine.runs({ function: functionId });
  const all = ["collect", "collect", "render", "send"];
  expect(second).toMatchObject({ status: "Completed", output: `by ${second?.id}` });
  expect(done).toEqual(all);

  await app.advance(30 * minuteMs);
  expect(outputs()[0]).toEqual({ outcome: "skipped_duplicate", duplicateOf: second?.id });
  expect(done).toEqual(all);
  const { runs } = app.ledger.asOperator("test");
  expect(await runs.find({ runId: second?.id ?? "", functionId })).toMatchObject({
    status: "SUCCEEDED",
    dispatchKey,
  });
  expect(await runs.find({ runId: first?.id ?? "", functionId })).not.toMatchObject({
    status: "SUCCEEDED",
  });
  expect((await app.ledger.report()).runs.duplicateForWindow).toBe(0);
});

test("a run that failed has a dead letter, and gives way when its window is sent again", async () => {
  let failures = 1;
  const { app, done } = await start(
    async (context, notes) => {
      await context.step.run("check", () => {
        failures -= 1;
        if (failures >= 0) throw new Error("The mail server is away.");
      });
      return twoSteps(context, notes);
    },
    { schedule: "nightly" },
    { retries: 0 },
  );
  const event = windowEvent();
  const data = { ...event.data, schedule: "nightly" };
  const send = createEventSender(app.client);
  await send([{ ...event, data }]);
  await app.engine.settled();
  expect(await app.ledger.asOperator("test").deadLetters.list()).toMatchObject([
    { kind: "RUN", name: functionId, error: "The mail server is away." },
  ]);
  await send([{ ...event, id: `${event.id}:again`, data }]);
  await app.engine.settled();
  expect(done).toEqual(["collect", "send"]);
});

test("events are sent by the run that holds the window alone", async () => {
  const { app } = await start(
    failingOnce(async ({ step }) => {
      await step.sendEvent("tell", { name: "shop/digests.sent" });
    }),
  );
  await app.dispatcher.dispatch({ schedule: "nightly", source: "cron" });
  await app.engine.settled();
  app.engine.faults.delayCalls({ function: functionId, by: "40m" });
  await app.advance(25 * minuteMs);
  await app.dispatcher.dispatch({ schedule: "background-jobs", source: "cron" });
  await app.advance(60 * minuteMs);
  expect(app.engine.runs({ function: functionId })).toHaveLength(2);
  expect(app.engine.events({ name: "shop/digests.sent" })).toHaveLength(1);
});

test("an event that names no window fails at once, with a dead letter that says what is missing", async () => {
  const { app } = await start(twoSteps, { event: "shop/nightly.requested" });
  await app.engine.send({ name: "shop/nightly.requested", data: { dispatchKey: "by hand" } });
  await app.engine.settled();
  const [run] = app.engine.runs({ function: functionId });
  expect(run?.status).toBe("Failed");
  expect(await app.ledger.asOperator("test").deadLetters.list()).toMatchObject([
    { name: functionId, error: expect.stringContaining("dispatchWindowStart") },
  ]);
});
