import { hostname } from "node:os";

import {
  createCronHandler,
  createDispatcher,
  createReceiptHandler,
  createReconciler,
  defineSchedule,
  parseBackgroundConfig,
  type Environment,
} from "@evenkeel/dispatch";
import { fieldsFirst } from "@evenkeel/core";
import {
  createBackgroundClient,
  createBackgroundFunctions,
  createEventSender,
} from "@evenkeel/functions";
import { createInbox } from "@evenkeel/inbox";
import { createRunner } from "@evenkeel/jobs";
import { createLedger, type Ledger } from "@evenkeel/ledger";
import type { Inngest, InngestFunction } from "inngest";
import { Pool } from "pg";
import { pino } from "pino";

/** The parts that the routes share, made once per process. */
export interface WebHost {
  readonly cron: (request: Request) => Promise<Response>;
  /** Ticks of the other schedules, by the last segment of the path. */
  readonly cronOfSchedule: (request: Request) => Promise<Response>;
  readonly receipts: (request: Request) => Promise<Response>;
  readonly client: Inngest;
  readonly functions: readonly InngestFunction.Any[];
  readonly ledger: Ledger;
}

/** Schedules beside `background-jobs`, whose windows have the configured length. */
const schedules = [defineSchedule({ id: "followups", every: 3_600, overlap: "skip" })];

let host: WebHost | undefined;

/** The Inngest route's `maxDuration`, in milliseconds. */
const hostTimeoutMs = 60_000;

/** The process's host, made at the first call. @throws DispatchError `invalid_configuration`. */
export function webHost(): WebHost {
  host ??= createWebHost(process.env);
  return host;
}

function createWebHost(environment: Environment): WebHost {
  const config = parseBackgroundConfig(environment, {
    now: new Date(),
    required: ["DATABASE_URL"],
  });
  const owner = `${hostname()}:${process.pid}`;
  const logger = fieldsFirst(pino({ name: "web" }));
  const pool = new Pool({ connectionString: config.databaseUrl, max: 10 });
  pool.on("error", (error) => logger.warn("web.connection_lost", { error: error.message }));
  const ledger = createLedger({ pool, logger });
  const runner = createRunner({ ledger, handlers: createInbox({ pool }).handlers, owner, logger });
  const client = createBackgroundClient({
    appId: "evenkeel",
    config: config.inngest,
    ledger,
    owner,
    logger,
  });
  const dispatcher = createDispatcher({
    ledger,
    send: createEventSender(client),
    runInline: ({ budgetMs }) => runner.drain({ budgetMs }),
    config,
    schedules,
    environment: config.environment,
    owner,
    logger,
  });
  const { cronSecrets } = config;
  const reconciler = createReconciler({ ledger, dispatcher, owner, logger });
  return {
    cron: createCronHandler({ dispatcher, cronSecrets, logger }),
    cronOfSchedule: createCronHandler({ dispatcher, cronSecrets, schedules, logger }),
    receipts: createReceiptHandler({ ledger, cronSecrets, logger }),
    client,
    functions: createBackgroundFunctions({
      client,
      ledger,
      runner,
      reconciler,
      config,
      environment: config.environment,
      hostTimeoutMs,
      logger,
    }),
    ledger,
  };
}
