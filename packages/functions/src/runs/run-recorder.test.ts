import { randomUUID } from "node:crypto";

import type { Ledger, RunStore } from "@evenkeel/ledger";
import { serve } from "inngest/edge";
import { afterEach, expect, test } from "vitest";

import { createBackgroundClient } from "../background-client.ts";
import { createEventSender } from "../event-sender.ts";
import { createBackgroundApp, windowEvent, type BackgroundApp } from "../testing/background-app.ts";

const open: BackgroundApp[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((app) => app.close()));
});

/** A ledger whose record of runs does as told, while its queue and guards work. */
function withRuns(call: () => Promise<never>): (ledger: Ledger) => Ledger {
  return (ledger) => ({
    ...ledger,
    runs: {
      ...ledger.runs,
      begin: call,
      finish: call,
      finishAttempt: call,
      heartbeat: call,
    },
  });
}

test("a ledger that refuses every record costs no run", async () => {
  let asked = 0;
  const app = await createBackgroundApp({
    wrapLedger: withRuns(() => {
      asked += 1;
      return Promise.reject(new Error("connection refused"));
    }),
  });
  open.push(app);
  await app.enqueueNotes(5);
  const send = createEventSender(app.client);
  await send([windowEvent()]);
  await send([windowEvent()]);
  await app.engine.settled();
  expect(app.engine.runs({ status: "Completed" })).toHaveLength(2);
  expect(app.notes).toHaveLength(5);
  // After a failure the ledger is left alone for the cooldown.
  expect(asked).toBe(1);
  expect(app.logged.filter(({ event }) => event === "runs.not_recorded")).toHaveLength(1);
});

test("a ledger that never responds costs one time-out and no run", async () => {
  const app = await createBackgroundApp({
    wrapLedger: withRuns(() => new Promise<never>(() => {})),
  });
  open.push(app);
  await createEventSender(app.client)([windowEvent()]);
  await app.engine.settled();
  expect(app.engine.runs({ status: "Completed" })).toHaveLength(1);
});

test("text that Postgres cannot store is recorded without it, and no record of another run is lost", async () => {
  const half = "\ud800";
  const app = await createBackgroundApp({
    ownFunctions: (client) => [
      client.createFunction(
        { id: "answers", triggers: [{ event: "order/placed" }], retries: 0 },
        ({ event }) => ({ note: `\u0000${half}`, of: event.data }),
      ),
      client.createFunction(
        { id: "fails", triggers: [{ event: "order/placed" }], retries: 0 },
        () => Promise.reject(new Error(`nul \u0000 and half ${half}`)),
      ),
    ],
  });
  open.push(app);
  const data = { text: `a\u0000b${half}`, [`key\u0000`]: [half] };
  await app.engine.send({ id: "order \u0000 1", name: "order/placed", data });
  await app.engine.settled();
  await createEventSender(app.client)([windowEvent()]);
  await app.engine.settled();

  expect(app.logged.filter(({ event }) => event === "runs.not_recorded")).toEqual([]);
  const operator = app.ledger.asOperator("test");
  const runs = await operator.runs.list();
  const statuses = runs.map(({ functionId, status }) => [functionId, status]);
  expect(new Map(statuses as [string, string][])).toEqual(
    new Map([
      ["app-answers", "SUCCEEDED"],
      ["app-fails", "FAILED"],
      ["app-file-dead-letters", "SUCCEEDED"],
      ["app-process-background-jobs", "SUCCEEDED"],
    ]),
  );
  const kept = { text: "a\ufffdb\ufffd", "key\ufffd": ["\ufffd"] };
  expect(runs.find(({ functionId }) => functionId === "app-answers")).toMatchObject({
    output: { note: "\ufffd\ufffd", of: kept },
  });
  expect(await operator.deadLetters.list()).toMatchObject([
    {
      kind: "RUN",
      name: "app-fails",
      error: "nul \ufffd and half \ufffd",
      payload: { id: "order \ufffd 1", name: "order/placed", data: kept },
    },
  ]);
});

test("one record that Postgres refuses rests none of the others", async () => {
  const refused = Object.assign(new Error("value too long"), { code: "22001" });
  let asked = 0;
  const app = await createBackgroundApp({
    wrapLedger: (ledger) => ({
      ...ledger,
      runs: {
        ...ledger.runs,
        begin: (start) => {
          asked += 1;
          return asked === 1 ? Promise.reject(refused) : ledger.runs.begin(start);
        },
      },
    }),
  });
  open.push(app);
  const send = createEventSender(app.client);
  await send([windowEvent()]);
  await send([windowEvent()]);
  await app.engine.settled();
  expect(await app.ledger.asOperator("test").runs.list()).toHaveLength(1);
});

test("a run taken over by another process of the same name is no longer written by the first", async () => {
  const app = await createBackgroundApp();
  open.push(app);
  const run = { runId: "r", functionId: "app-f", eventName: "e", owner: "pod-0:1", attempt: 0 };
  const [one, other] = [randomUUID(), randomUUID()];
  const first = await app.ledger.runs.begin({ ...run, holder: one });
  const again = await app.ledger.runs.begin({ ...run, holder: one });
  expect(again).toEqual(first);
  const second = await app.ledger.runs.begin({ ...run, holder: other });
  expect(
    await app.ledger.runs.finish({ ...run, fence: first?.fence ?? "", status: "SUCCEEDED" }),
  ).toBe(false);
  // A build that knows no holder takes over under a name of its own, and leaves the holder as it was.
  await app.database.pool.query(
    `UPDATE evenkeel.background_function_run SET owner = 'old', fence = gen_random_uuid()`,
  );
  const third = await app.ledger.runs.begin({ ...run, holder: other });
  const { rows } = await app.database.pool.query<{ fence: string }>(
    `SELECT fence FROM evenkeel.background_function_run`,
  );
  expect(third).toEqual(rows[0]);
  expect(
    await app.ledger.runs.finish({ ...run, fence: second?.fence ?? "", status: "SUCCEEDED" }),
  ).toBe(false);
  expect(
    await app.ledger.runs.finish({ ...run, fence: third?.fence ?? "", status: "SUCCEEDED" }),
  ).toBe(true);
});

test("two hosts of one name share no fence", async () => {
  const app = await createBackgroundApp();
  open.push(app);
  const begun: (string | undefined)[] = [];
  const runs: RunStore = {
    ...app.ledger.runs,
    begin: async (start) => {
      const answer = await app.ledger.runs.begin({ ...start, runId: "one-run" });
      begun.push(answer?.fence);
      return answer;
    },
  };
  const [one, other] = Array.from({ length: 2 }, () =>
    createBackgroundClient({
      appId: "hosts",
      config: { dev: true, baseUrl: app.engine.url },
      ledger: { runs },
      owner: "pod-0:1",
      fetch: app.engine.fetch,
    }),
  );
  for (const client of [one!, one!, other!]) {
    const options = { id: "f", triggers: [{ event: "asked" }] };
    const functions = [client.createFunction(options, () => "done")];
    await app.engine.register(serve({ client, functions }));
    await app.engine.send({ name: "asked" });
    await app.engine.settled();
  }
  expect(begun).toHaveLength(3);
  expect(begun[0]).toBeDefined();
  expect(begun[1]).toBe(begun[0]);
  expect(begun[2]).not.toBe(begun[0]);
});
