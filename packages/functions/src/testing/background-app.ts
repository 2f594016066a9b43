import { randomUUID } from "node:crypto";

import {
  createDispatcher,
  createReconciler,
  formatDispatchKey,
  formatEventId,
  type Dispatcher,
  type OutgoingEvent,
} from "@evenkeel/dispatch";
import { createEngine, virtualClock, type Engine } from "@evenkeel/engine";
import type { Logger } from "@evenkeel/core";
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
import { createTestDatabase, type TestDatabase } from "@evenkeel/test-postgres/testing";
import type { Inngest } from "inngest";
import { serve } from "inngest/edge";
import { z } from "zod";

import { createEventSender } from "../event-sender.ts";
import { createBackgroundClient } from "../background-client.ts";
import {
  createBackgroundFunctions,
  type BackgroundFunctionsOptions,
} from "../background-functions.ts";

const notePayload: z.ZodObject<{ note: z.ZodString }> = z.object({ note: z.string() });

/** The one kind of job in these tests. */
const noteJob: JobDefinition<typeof notePayload> = defineJob({
  type: "note.write",
  version: 1,
  payload: notePayload,
});

/** An app with the background functions on an engine in virtual time, over a Postgres of its own. */
export interface BackgroundApp {
  readonly database: TestDatabase;
  readonly ledger: Ledger;
  readonly engine: Engine;
  readonly client: Inngest;
  readonly dispatcher: Dispatcher;
  /** The notes that jobs wrote, in order. */
  readonly notes: string[];
  /** Events of the log, by name. */
  readonly logged: { readonly event: string; readonly fields: unknown }[];
  enqueueNotes(count: number): Promise<void>;
  close(): Promise<void>;
}

/** Changes to the app's parts. */
export interface BackgroundAppOptions extends Partial<
  Pick<
    BackgroundFunctionsOptions,
    "stepBudgetMs" | "hostTimeoutMs" | "runBudgetMs" | "maxContinuations" | "idleTimeoutMs"
  >
> {
  /** The engine's clock runs by itself. */
  readonly isRealTime?: boolean;
  readonly wrapRunner?: (runner: Runner) => Pick<Runner, "drain">;
  readonly wrapLedger?: (ledger: Ledger) => Ledger;
  readonly handlers?: readonly JobHandler[];
  readonly pruner?: (ledger: Ledger, logger: Logger) => Pruner;
}

/** Starts a {@link BackgroundApp}. */
export async function createBackgroundApp(
  options: BackgroundAppOptions = {},
): Promise<BackgroundApp> {
  const database = await createTestDatabase();
  const real = createLedger({ pool: database.pool });
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
  });
  const engine = createEngine({
    handler: (request) => handler(request),
    ...(options.isRealTime === true ? {} : { clock: virtualClock() }),
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
      forceInline: false,
      windowSeconds: 60,
    },
    environment: "test",
    owner: "worker-1",
    clock: { now: () => new Date(engine.now()) },
    logger,
  });
  const { pruner: createAppPruner, isRealTime: _isRealTime, ...settings } = options;
  const functions = createBackgroundFunctions({
    ...settings,
    ...(createAppPruner === undefined ? {} : { pruner: createAppPruner(real, logger) }),
    client,
    ledger,
    runner: { ...runner, ...options.wrapRunner?.(runner) },
    environment: "test",
    reconciler: createReconciler({ ledger: real, dispatcher, owner: "worker-1", logger }),
    config: { concurrency: 4 },
    logger,
  });
  const handler = serve({ client, functions });
  return {
    database,
    ledger: real,
    engine,
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
    close: async () => {
      await engine.close();
      await real.close();
      await database.drop();
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
