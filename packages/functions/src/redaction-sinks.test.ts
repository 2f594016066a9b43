import { once } from "node:events";
import { createServer } from "node:net";

import type { Logger } from "@evenkeel/core";
import { createCronHandler, createDispatcher, createReceiptHandler } from "@evenkeel/dispatch";
import { defineJob, enqueue, exponential, handleJob, type JobHandler } from "@evenkeel/jobs";
import fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import { z } from "zod";

import { createBackgroundClient } from "./background-client.ts";
import { createEventSender, createOutboxSender } from "./event-sender.ts";
import { createBackgroundApp, windowEvent, type BackgroundApp } from "./testing/background-app.ts";

const open: BackgroundApp[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((app) => app.close()));
});

/** A secret of its own kind, as it stands in an error, an output or a URL. Put together, so that no scan finds it here. */
const planted = fc
  .tuple(
    fc.constantFrom(
      ["postgres://shop:", "@db.example.com/shop"],
      ["https://inn.gs/e/", ""],
      ["Authorization: Bearer ", ""],
      ["connect with password=", " failed"],
      ['{"apiKey":"', '"}'],
      [["AK", "IA"].join(""), "\n"],
      [["gh", "p_"].join(""), "."],
      [["eyJ", "hbGciOiJIUzI1NiJ9."].join(""), ""],
      ["no mailbox ", "@mail.example.com"],
    ),
    fc.string({
      unit: fc.constantFrom(...Array.from("ABCDEFGHJKLMNPQR2345")),
      minLength: 16,
      maxLength: 16,
    }),
  )
  .map(([[before = "", after = ""], secret]) => ({ text: `${before}${secret}${after}`, secret }));

const failJob = defineJob({
  type: "fail",
  version: 1,
  payload: z.object({}),
  retry: exponential({ maxAttempts: 1 }),
});

test("a planted secret reaches no log line, run, attempt, dead letter, window, receipt or response", async () => {
  let text = "";
  const fail = (): Promise<never> =>
    Promise.reject(new Error(`first ${text}`, { cause: new Error(text) }));
  const handlers: JobHandler[] = [handleJob(failJob, fail)];
  const app = await createBackgroundApp({
    handlers,
    ownFunctions: (client) => [
      client.createFunction(
        { id: "answers", triggers: [{ event: "asked" }], retries: 0 },
        ({ logger }) => {
          logger.error({ error: new Error(text), nested: [{ text }] }, `say ${text}`);
          return { text, nested: [{ text }] };
        },
      ),
      client.createFunction({ id: "fails", triggers: [{ event: "asked" }], retries: 1 }, fail),
    ],
  });
  open.push(app);
  const lines: unknown[] = [];
  const note = (event: string, fields?: unknown): void => void lines.push([event, fields]);
  const logger: Logger = { debug: note, info: note, warn: note, error: note };
  const { ledger } = app;
  const base = { environment: "test", owner: "host-1", logger };
  const config = { useInngest: { enabled: true, because: "test" }, windowSeconds: 60 };
  const failing = createDispatcher({ ...base, config, ledger, send: fail });
  const broken = createDispatcher({
    ...base,
    config,
    ledger: { windows: { ...ledger.windows, claim: fail } },
    send: fail,
  });
  const inline = createDispatcher({
    ...base,
    ledger,
    config: { ...config, forceInlineUntil: new Date(Date.now() + 3_600_000) },
    send: fail,
    runInline: async () => ({ text, nested: { text } }),
  });
  const cron = { cronSecrets: ["cron"], logger };
  const routes = [
    createCronHandler({ ...cron, dispatcher: failing, schedule: "failing" }),
    createCronHandler({ ...cron, dispatcher: broken, schedule: "broken" }),
    createCronHandler({ ...cron, dispatcher: inline, schedule: "inline" }),
    createCronHandler({ ...cron, dispatcher: { dispatch: fail } }),
    createReceiptHandler({ ledger: { receipt: fail }, receiptsSecrets: ["cron"], logger }),
  ];
  const receipts = createReceiptHandler({ ledger, receiptsSecrets: ["cron"], logger });
  const headers = { authorization: "Bearer cron" };

  const property = fc.asyncProperty(planted, async (secret) => {
    ({ text } = secret);
    const seen: string[] = [];
    for (const route of routes) {
      const response = await route(new Request("http://127.0.0.1/api/cron/key", { headers }));
      const body = await response.text();
      seen.push(body);
      const { dispatchKey } = z
        .object({ dispatchKey: z.string().optional() })
        .parse(JSON.parse(body));
      if (dispatchKey === undefined) continue;
      const path = `http://127.0.0.1/receipts/${encodeURIComponent(dispatchKey)}`;
      seen.push(await (await receipts(new Request(path, { headers }))).text());
    }
    await enqueue(app.database.pool, failJob, { tenantId: "acme", payload: {} });
    await app.engine.send({ name: "asked" });
    await createEventSender(app.client)([windowEvent()]);
    await app.advance(3_600_000);

    const { runs, deadLetters, jobs } = ledger.asOperator("test");
    const records = [await runs.list(), await deadLetters.list(), await jobs.list()];
    // Each sink holds something, or the test would say nothing of it.
    const ran = records[0]?.map((run) => "functionId" in run && run.functionId);
    expect(ran).toContain("app-answers");
    expect(ran).toContain("app-fails");
    expect(records[1]?.map((letter) => "kind" in letter && letter.kind)).toEqual(
      expect.arrayContaining(["RUN", "JOB"]),
    );
    const { rows } = await app.database.pool.query(
      `SELECT to_jsonb(dispatch_window.*) FROM evenkeel.background_dispatch_window AS dispatch_window
       UNION ALL SELECT to_jsonb(attempt.*) FROM evenkeel.background_function_attempt AS attempt
       UNION ALL SELECT to_jsonb(job.*) FROM evenkeel.background_job_history AS job`,
    );
    expect(lines.length).toBeGreaterThan(0);
    const everything = JSON.stringify([seen, records, rows, lines, app.logged]);
    expect(everything).not.toContain(secret.secret);
    expect(everything).toMatch(/\[(?:redacted|email)\]/u);
  });
  await fc.assert(property, { numRuns: 10, endOnFailure: true });
});

/** An address where nothing listens any more. */
async function closedAddress(): Promise<string> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  return `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
}

test("a failed send is told with the address that did not answer, and without the key", async () => {
  const lines: unknown[] = [];
  const logger: Logger = {
    debug: () => {},
    info: () => {},
    warn: (event, fields) => void lines.push([event, fields]),
    error: (event, fields) => void lines.push([event, fields]),
  };
  const baseUrl = await closedAddress();
  const client = createBackgroundClient({
    appId: "app",
    config: { dev: false, baseUrl, eventKey: "hunter2-event-key" },
    owner: "host-1",
    logger,
  });
  const dispatcher = createDispatcher({
    send: createEventSender(client),
    config: { useInngest: { enabled: true, because: "test" }, windowSeconds: 60 },
    environment: "test",
    owner: "host-1",
    logger,
  });
  const receipt = await dispatcher.dispatch({ schedule: "background-jobs", source: "cron" });
  const { host } = new URL(baseUrl);
  const reason = `Inngest at ${baseUrl} could not be reached: fetch failed: connect ECONNREFUSED ${host}`;
  expect(receipt).toMatchObject({ mode: "dispatch-failed", reason });
  expect(lines).toContainEqual(["dispatch.dispatch-failed", expect.objectContaining({ reason })]);
  await expect(
    createOutboxSender(client)([{ id: "e", name: "n", data: {}, ts: 0 }]),
  ).rejects.toThrow(`Inngest at ${baseUrl} could not be reached`);
  expect(JSON.stringify([receipt, lines])).not.toContain("hunter2");
});

test("a server that never answers is named by its address when the send is given up", async () => {
  const { promise: request, resolve: asked } = Promise.withResolvers<void>();
  const lines: [string, unknown][] = [];
  const note = (event: string, fields?: unknown): void => void lines.push([event, fields]);
  const client = createBackgroundClient({
    appId: "app",
    config: { dev: true, baseUrl: "http://inngest.internal:8288" },
    owner: "host-1",
    logger: { debug: () => {}, info: () => {}, warn: note, error: note },
    // As the real one does, where the server accepts the connection and says nothing.
    fetch: (_input, init) =>
      new Promise((_resolve, reject) => {
        const end = (): void => reject(init?.signal?.reason);
        if (init?.signal?.aborted === true) end();
        init?.signal?.addEventListener("abort", end);
        asked();
      }),
  });
  const giveUp = new AbortController();
  const sending = createEventSender(client)([windowEvent()], { signal: giveUp.signal });
  await request;
  giveUp.abort();
  await expect(sending).rejects.toMatchObject({ name: "AbortError" });
  // Once, and not for each of the SDK's retries.
  expect(lines.filter(([event]) => event === "inngest.no_answer")).toEqual([
    ["inngest.no_answer", { address: "http://inngest.internal:8288" }],
  ]);
});
