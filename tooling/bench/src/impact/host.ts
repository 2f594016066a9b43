import { createServer } from "node:http";
import { parseArgs } from "node:util";

import { silentLogger } from "@evenkeel/core";
import { createCronHandler, createDispatcher, createReconciler } from "@evenkeel/dispatch";
import {
  createBackgroundClient,
  createBackgroundFunctions,
  createEventSender,
} from "@evenkeel/functions";
import { createRunner } from "@evenkeel/jobs";
import { createLedger } from "@evenkeel/ledger";
import { serve } from "inngest/node";
import { Pool } from "pg";

import { busyHandler } from "./jobs.ts";

/*
 * A product's web process, or its worker: an ordinary route that reads one row, the cron route, and the Inngest
 * route, in one Node process. `--inline` is the old way: the cron request itself runs the jobs.
 */
const { values } = parseArgs({
  options: {
    port: { type: "string", default: "0" },
    database: { type: "string", default: "" },
    engine: { type: "string", default: "" },
    secret: { type: "string", default: "" },
    inline: { type: "boolean", default: false },
  },
});
const logger = silentLogger;
const owner = `host-${process.pid}`;
const pool = new Pool({ connectionString: values.database, max: 20 });
const ledger = createLedger({ pool });
const runner = createRunner({ ledger, handlers: [busyHandler], owner, logger });
const config = { dev: true, baseUrl: values.engine };
const client = createBackgroundClient({ appId: "impact", config, ledger, owner, logger });
const dispatcher = createDispatcher({
  ledger,
  send: createEventSender(client),
  runInline: ({ budgetMs }) => runner.drain({ budgetMs }),
  config: {
    useInngest: { enabled: !values.inline, because: "bench" },
    ...(values.inline ? { forceInlineUntil: new Date(Date.now() + 24 * 60 * 60 * 1_000) } : {}),
    windowSeconds: 15,
  },
  environment: "bench",
  owner,
  logger,
});
const cron = createCronHandler({ dispatcher, cronSecrets: [values.secret], logger });
const reconciler = createReconciler({ ledger, dispatcher, owner, logger });
const functions = createBackgroundFunctions({
  environment: "bench",
  client,
  ledger,
  runner,
  reconciler,
  config: { concurrency: 4 },
  logger,
});
const inngest = serve({ client, functions });

const server = createServer((request, response) => {
  const url = new URL(request.url ?? "/", "http://127.0.0.1");
  const answer = (status: number, body: string): void => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(body);
  };
  const fail = (error: unknown): void => answer(500, JSON.stringify({ error: String(error) }));
  if (url.pathname === "/api/inngest") inngest(request, response);
  else if (url.pathname === "/api/cron/background-jobs") {
    const authorization = request.headers.authorization ?? "";
    cron(new Request(url, { headers: { authorization } }))
      .then(async (receipt) => answer(receipt.status, await receipt.text()))
      .catch(fail);
  } else if (url.pathname === "/product") {
    pool
      .query(`SELECT * FROM "product" WHERE "id" = $1`, [Number(url.searchParams.get("id"))])
      .then(({ rows }) => answer(200, JSON.stringify(rows)))
      .catch(fail);
  } else answer(404, "{}");
});
server.listen(Number(values.port), "127.0.0.1", () => console.log("listening"));
