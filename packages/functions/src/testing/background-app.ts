import { randomUUID } from "node:crypto";

import type { Logger } from "@evenkeel/core";
import {
  createDispatcher,
  createReconciler,
  formatDispatchKey,
  formatEventId,
  type Dispatcher,
  type OutgoingEvent,
} from "@evenkeel/dispatch";
import { createEngine, virtualClock, type Engine } from "@evenkeel/engine";
import { processRequested, type EventContract } from "@evenkeel/events";
import {
  createRunner,
  defineJob,
  enqueueMany,
  handleJob,
  type JobDefinition,
  type JobHandler,
  type Runner,
} from "@evenkeel/jobs";
import { createLedger, type Ledger, type Pruner } from "@evenkeel/ledger";
import { installMovableClock, type MovableClock } from "@evenkeel/test-postgres/movable-clock";
import { setup, type TestDatabase } from "@evenkeel/test-postgres/testing";
import type { Inngest, InngestFunction } from "inngest";
import { serve } from "inngest/edge";
import { z } from "zod";

import { createBackgroundClient } from "../background-client.ts";
import {
  createBackgroundFunctions,
  type BackgroundFunctionsOptions,
} from "../background-functions.ts";
import { createEventSender } from "../event-sender.ts";

const notePayload: z.ZodObject<{ note: z.ZodString }> = z.object({ note: z.string() });

/** The one kind of job in these tests. */
const noteJob: JobDefinition<typeof notePayload> = defineJob({
  type: "note.write",
  version: 1,
  payload: notePayload,
});

/**
 * An app with the background functions on an engine in virtual time, over a Postgres of its own whose time is the
 * engine's: each request to the app moves the database's clock to the engine's present.
 */
export interface BackgroundApp {
  readonly database: TestDatabase;
  readonly ledger: Ledger;
  readonly engine: Engine;
  /** The database's time, and the runner's with {@link BackgroundAppOptions.runnerTime} `moved`. */
  readonly clock: MovableClock;
  readonly client: Inngest;
  readonly dispatcher: Dispatcher;
  /** The notes that jobs wrote, in order. */
  readonly notes: string[];
  /** Events of the log, by name. */
  readonly logged: { readonly event: string; readonly fields: unknown }[];
  enqueueNotes(count: number): Promise<void>;
  /** Moves the engine and the database on together, in milliseconds, doing all that falls due on the way. */
  advance(byMs: number): Promise<void>;
  close(): Promise<void>;
}

type Handler = (request: Request) => Promise<Response>;

/** Changes to the app's parts. A drain waits for no new jobs unless `idleTimeoutMs` says so. */
export interface BackgroundAppOptions extends Partial<
  Pick<
    BackgroundFunctionsOptions,
    "stepBudgetMs" | "hostTimeoutMs" | "runBudgetMs" | "maxContinuations" | "idleTimeoutMs"
  >
> {
  /**
   * `real`, the default: the runner's timers are the process's. `moved`: they wait for the app's clock, and so do
   * drains until `clock.advance` moves it.
   */
  readonly runnerTime?: "real" | "moved";
  readonly wrapRunner?: (runner: Runner) => Partial<Pick<Runner, "drain" | "runOne">>;
  readonly wrapHandler?: (handler: Handler) => Handler;
  readonly wrapLedger?: (ledger: Ledger) => Ledger;
  readonly handlers?: readonly JobHandler[];
  /** Concurrent process runs; defaults to 4. */
  readonly concurrency?: number;
  /** The product's own functions. */
  readonly ownFunctions?: (client: Inngest, ledger: Ledger) => readonly InngestFunction.Any[];
  readonly pruner?: (ledger: Ledger, logger: Logger) => Pruner;
}

/** Starts a {@link BackgroundApp}. */
export async function createBackgroundApp(
  options: BackgroundAppOptions = {},
): Promise<BackgroundApp> {
  const background = await setup(createLedger);
  const { database, ledger: real } = background;
  const clock = await installMovableClock(database, { start: Date.parse("2026-01-01T00:00:00Z") });
  const ledger = options.wrapLedger?.(real) ?? real;
  const notes: string[] = [];
  const logged: BackgroundApp["logged"] = [];
  const log = (event: string, fields?: unknown): void => void logged.push({ event, fields });
  const logger: Logger = { debug: () => {}, info: log, warn: log, error: log };
  const runner = createRunner({
    ledger: real,
    handlers: options.handlers ?? [
      handleJob(noteJob, async ({ payload }) => {
        notes.push(payload.note);
      }),
    ],
    owner: "worker-1",
    ...(options.runnerTime === "moved" ? { clock } : {}),
  });
  const engine = createEngine({
    handler: async (request) => {
      await clock.moveTo(engine.now());
      return handle(request);
    },
    clock: virtualClock({ start: clock.now() }),
    // How long a call takes in real time depends on what else the machine does.
    stallMs: 100_000,
  });
  const client = createBackgroundClient({
    appId: "app",
    config: { dev: true, baseUrl: engine.url },
    ledger,
    owner: "worker-1",
    logger,
    fetch: engine.fetch,
  });
  const dispatcher = createDispatcher({
    ledger: real,
    send: createEventSender(client),
    config: {
      useInngest: { enabled: true, because: "test" },
      windowSeconds: 60,
    },
    environment: "test",
    owner: "worker-1",
    clock: { now: () => new Date(Math.max(engine.now(), clock.now())) },
    logger,
  });
  const { pruner: createAppPruner, runnerTime: _runnerTime, ownFunctions, ...settings } = options;
  const functions = createBackgroundFunctions({
    idleTimeoutMs: 0,
    ...settings,
    ...(createAppPruner === undefined ? {} : { pruner: createAppPruner(real, logger) }),
    client,
    ledger,
    runner: { ...runner, ...options.wrapRunner?.(runner) },
    environment: "test",
    reconciler: createReconciler({ ledger: real, dispatcher, owner: "worker-1", logger }),
    config: { concurrency: options.concurrency ?? 4 },
    logger,
  });
  const own = ownFunctions?.(client, ledger) ?? [];
  const handler = serve({ client, functions: [...functions, ...own] });
  const handle = options.wrapHandler?.(handler) ?? handler;
  return {
    database,
    ledger: real,
    engine,
    clock,
    client,
    dispatcher,
    notes,
    logged,
    enqueueNotes: async (count) => {
      const inputs = Array.from({ length: count }, (_, index) => ({
        tenantId: `tenant-${index % 3}`,
        payload: { note: `note ${index}` },
      }));
      await enqueueMany(database.pool, noteJob, inputs);
    },
    advance: async (byMs) => {
      const untilMs = Math.max(engine.now(), clock.now()) + byMs;
      await engine.advanceTo(untilMs);
      await clock.moveTo(untilMs);
    },
    close: async () => {
      await engine.close();
      await background.close();
    },
  };
}

/** A dispatch event of a window of its own, as a dispatcher would send it. */
export function windowEvent(
  contract: EventContract = processRequested,
  start: Date = new Date("2026-01-01T00:00:00Z"),
): OutgoingEvent {
  const { name, version: schemaVersion } = contract;
  const schedule = `schedule-${randomUUID()}`;
  const dispatchKey = formatDispatchKey({ schedule, window: { start, seconds: 60 } });
  return {
    id: formatEventId({ name, schemaVersion, environment: "test", dispatchKey }),
    name,
    data: {
      source: "test",
      requestedAt: start.toISOString(),
      dispatchKey,
      correlationId: randomUUID(),
      dispatchWindowStart: start.toISOString(),
      dispatchWindowSeconds: 60,
      schemaVersion: 1,
      lane: "stable",
      schedule,
    },
  };
}
