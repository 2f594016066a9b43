import { randomUUID } from "node:crypto";
import { hostname } from "node:os";

import { defined, resolveLogger, type Logger } from "@evenkeel/core";
import {
  createCronHandler,
  createDispatcher,
  createFanOut,
  createHandshakeStarter,
  createNudge,
  createOutboxRelay,
  createReceiptHandler,
  createReconciler,
  createWatchdog,
  decideMode,
  defineSchedule,
  parseBackgroundConfig,
  type BackgroundConfig,
  type Dispatcher,
  type HandshakeStarter,
  type HandshakeWatch,
  type Nudge,
  type OutboxRelay,
  type Reconciler,
  type RunInline,
  type Watchdog,
} from "@evenkeel/dispatch";
import { createRunner, type Runner } from "@evenkeel/jobs";
import { createLedger, createPruner, openPool, type Ledger, type Pruner } from "@evenkeel/ledger";
import type { Inngest, InngestFunction } from "inngest";

import { createBackgroundClient } from "./background-client.ts";
import { createBackgroundFunctions } from "./background-functions.ts";
import type {
  BackgroundPartsOptions,
  BackgroundPool,
  BackgroundResources,
  FunctionSettings,
} from "./background-options.ts";
import { createEventSender, createOutboxSender } from "./event-sender.ts";
import { composeHandshake } from "./handshake/compose-handshake.ts";
import type { HostRegistrar } from "./handshake/host-registrar.ts";

/** Every part of a host, made from one set of options. */
export interface BackgroundParts extends BackgroundResources {
  /** Whether the pool was made here, and is to be ended here. */
  readonly ownsPool: boolean;
  readonly owner: string;
  readonly logger: Logger;
  readonly ledger: Ledger;
  readonly runner: Runner;
  readonly client: Inngest;
  readonly dispatcher: Dispatcher;
  readonly reconciler: Reconciler;
  readonly relay: OutboxRelay;
  /** Its `run` declares the schedules first. */
  readonly watchdog: Watchdog;
  /** `undefined`: nothing is deleted. */
  readonly pruner: Pruner | undefined;
  /** The background functions, and the product's own after them. */
  readonly functions: readonly InngestFunction.Any[];
  readonly nudge: Nudge;
  /** Says whether what is sent comes back, and why not. */
  readonly handshake: HandshakeWatch;
  /** Sends the handshake of a host that starts. */
  readonly startHandshake: HandshakeStarter;
  /** Registers this host in the ledger; `undefined`: it serves no functions. */
  readonly registrar: HostRegistrar | undefined;
  readonly cron: (request: Request) => Promise<Response>;
  readonly cronOfSchedule: (request: Request) => Promise<Response>;
  readonly receipts: (request: Request) => Promise<Response>;
}

/** The id of the schedule whose dispatches drain the queue. */
const drainSchedule = "background-jobs";

/**
 * Makes the parts of a host. Nothing is connected: the pool opens its first connection at its first query.
 *
 * @throws DispatchError `invalid_configuration`; JobError `invalid_options` or `duplicate_definition`;
 * LedgerError `invalid_retention` or `invalid_database_url`. A pool that was made here is ended then.
 */
export function composeParts(options: BackgroundPartsOptions): BackgroundParts {
  const config = readConfig(options);
  const ownsPool = typeof options.pool !== "object";
  const pool = typeof options.pool === "object" ? options.pool : makePool(options, config);
  try {
    return composeOn(options, config, pool, ownsPool);
  } catch (error) {
    if (ownsPool) void pool.end();
    throw error;
  }
}

function makePool(
  { pool, maxConnections }: Pick<BackgroundPartsOptions, "pool" | "maxConnections">,
  config: BackgroundConfig,
): BackgroundPool {
  if (typeof pool === "function") return pool(config);
  return openPool(config.databaseUrl ?? "", defined({ maxConnections }));
}

function readConfig(options: BackgroundPartsOptions): BackgroundConfig {
  if ("config" in options) {
    return typeof options.config === "function" ? options.config() : options.config;
  }
  return parseBackgroundConfig(options.environment, {
    now: new Date(),
    servesFunctions: true,
    ...defined({ hostName: options.hostName }),
    required: typeof options.pool === "object" ? [] : ["DATABASE_URL"],
  });
}

function composeOn(
  options: BackgroundPartsOptions,
  config: BackgroundConfig,
  pool: BackgroundPool,
  ownsPool: boolean,
): BackgroundParts {
  const { appId, appVersion, clock, schedules = [] } = options;
  const logger = resolveLogger(options.logger);
  const { cronSecrets, receiptsSecrets, environment, windowSeconds } = config;
  // Host names and process ids repeat where hosts are started from one template.
  const owner = options.owner ?? `${hostname()}:${process.pid}:${randomUUID().slice(0, 8)}`;
  const base = { owner, logger };
  const timed = { ...base, ...defined({ clock }) };

  const handlers =
    typeof options.handlers === "function" ? options.handlers({ config, pool }) : options.handlers;
  const ledger = createLedger({ pool, logger, environment });
  const fanOuts = schedules.some(({ scope, windowScope }) => scope !== windowScope)
    ? [createFanOut({ ledger, pool, schedules })]
    : [];
  const runner = stoppable(
    createRunner({ ...options.runner, ...base, ledger, handlers: [...handlers, ...fanOuts] }),
    options,
  );
  const handshake = composeHandshake({ ...options, config, ledger, logger });
  const client = createBackgroundClient({
    ...base,
    ...defined({ appVersion }),
    fetch: handshake.fetch,
    appId,
    config: config.inngest,
    ledger,
  });
  const runInline: RunInline = ({ budgetMs, deadlineMs, signal }) =>
    runner.drain({ budgetMs, deadlineMs, signal });
  const { hostTimeoutMs, neverStartedAfterMs, staleAfterMs } = options;
  const sending = { ...timed, ledger, send: createEventSender(client), config, environment };
  const dispatcher = createDispatcher({
    ...sending,
    handshake: handshake.watch,
    ...(options.runsInline === false ? {} : { runInline }),
    ...(hostTimeoutMs === undefined ? {} : { inlineDeadlineMs: inlineDeadlineOf(hostTimeoutMs) }),
    config,
    ...defined({ neverStartedAfterMs, staleAfterMs }),
    schedules,
  });
  const reconciler = createReconciler({
    ...base,
    ...defined({ neverStartedAfterMs, staleAfterMs }),
    ledger,
    dispatcher,
  });
  const relay = createOutboxRelay({ ...base, ledger, send: createOutboxSender(client) });
  const usual = { id: drainSchedule, every: windowSeconds, catchUp: "latest" } as const;
  const watched = schedules.some(({ id }) => id === drainSchedule)
    ? schedules
    : [defineSchedule(usual), ...schedules];
  const watchdog = declaring(createWatchdog({ ...timed, ledger, dispatcher, schedules: watched }));
  const { pruner: pruning = false, ...duties } = options.maintenance ?? {};
  const pruner =
    pruning === false
      ? undefined
      : createPruner({ ...(pruning === true ? {} : pruning), ledger, logger });
  const background = createBackgroundFunctions({
    ...functionSettings(options),
    ...defined({
      relay: duties.relay === false ? undefined : relay,
      watchdog: duties.watchdog === false ? undefined : watchdog,
      pruner,
    }),
    client,
    ledger,
    runner,
    reconciler,
    environment,
    config,
    logger,
  });
  const handler = { ...timed, dispatcher, cronSecrets };
  const own = options.functions?.(client, { ledger, logger }) ?? [];
  const nudge = createNudge({ ...timed, dispatcher, ledger, schedule: drainSchedule });
  reportConfig(config, logger, clock?.now() ?? new Date());
  // Last: a composition that failed leaves a lent pool as it was.
  // An idle connection that the server cut is replaced at the next query; unheard, the event ends the process.
  pool.on("error", (error) => logger.warn("background.connection_lost", { error: error.message }));
  return {
    ...base,
    config,
    pool,
    ownsPool,
    ledger,
    runner,
    client,
    dispatcher,
    reconciler,
    relay,
    watchdog,
    pruner,
    functions: [...background, ...own],
    nudge,
    handshake: handshake.watch,
    startHandshake: createHandshakeStarter({ ...sending, ...defined({ build: appVersion }) }),
    registrar: handshake.registrar,
    cron: createCronHandler(handler),
    cronOfSchedule: createCronHandler({ ...handler, schedules }),
    receipts: createReceiptHandler({ ...defined({ clock }), ledger, receiptsSecrets, logger }),
  };
}

/** Says once which mode is on and why, and which variables came with whitespace around them. */
function reportConfig(config: BackgroundConfig, logger: Logger, now: Date): void {
  const { cronSecrets, receiptsSecrets, environment, trimmed } = config;
  const fields = {
    ...decideMode(config, now),
    environment,
    cron: cronSecrets.length === 0 ? "closed: CRON_SECRET is not set" : "open",
    receipts: receiptsSecrets.length === 0 ? "closed: RECEIPTS_SECRET is not set" : "open",
    ...(trimmed.length === 0 ? {} : { trimmed }),
  };
  if (trimmed.length === 0) logger.info("background.configured", fields);
  else logger.warn("background.configured", fields);
}

/** By when inline work has ended on a host that ends requests: it is waited for 5 s longer, and responds after that. */
function inlineDeadlineOf(hostTimeoutMs: number): number {
  return Math.min(50_000, Math.max(1_000, hostTimeoutMs - 10_000));
}

/** A runner whose drains and single jobs end with the host's signals. */
function stoppable(
  runner: Runner,
  { stopSignal, signal }: Pick<BackgroundPartsOptions, "stopSignal" | "signal">,
): Runner {
  const host = defined({ stopSignal });
  const either = (own: AbortSignal | undefined): { signal?: AbortSignal } => {
    const signals = [own, signal].filter((one) => one !== undefined);
    return signals.length === 0 ? {} : { signal: AbortSignal.any(signals) };
  };
  return {
    drain: (options) => runner.drain({ ...host, ...options, ...either(options.signal) }),
    runOne: (job, options) =>
      runner.runOne(job, { ...host, ...options, ...either(options?.signal) }),
  };
}

/** A watchdog that needs no call of `declare` at start, which a host without a start could not make. */
function declaring(watchdog: Watchdog): Watchdog {
  return {
    declare: () => watchdog.declare(),
    run: async (options) => {
      await watchdog.declare();
      return watchdog.run(options);
    },
  };
}

function functionSettings({
  stepBudgetMs,
  hostTimeoutMs,
  idleTimeoutMs,
  runBudgetMs,
  maxContinuations,
  isolatedPerTenant,
  isolatedConcurrency,
}: FunctionSettings): FunctionSettings {
  return defined({
    stepBudgetMs,
    hostTimeoutMs,
    idleTimeoutMs,
    runBudgetMs,
    maxContinuations,
    isolatedPerTenant,
    isolatedConcurrency,
  });
}
