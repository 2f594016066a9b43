import { setTimeout as sleep } from "node:timers/promises";

import { type AfterResponse, createAfterResponse } from "./api/after-response.ts";
import { type HttpServer, listenHttp } from "./api/http-server.ts";
import { readFetchArguments } from "./api/inbound-request.ts";
import { createOriginGuard } from "./api/origin-guard.ts";
import { type Router, createRouter } from "./api/router.ts";
import type { AppRegistry } from "./app/app-registry.ts";
import { createAppSync } from "./app/app-sync.ts";
import type { FunctionConfig } from "./app/function-config.ts";
import { type EngineCore, type EngineCoreDeps, createEngineCore } from "./engine-core.ts";
import { UnknownFunctionError } from "./engine-error.ts";
import type { EngineOptions } from "./engine-options.ts";
import { createEngineTime } from "./engine-time.ts";
import { type EngineView, createEngineView } from "./engine-view.ts";
import type { EventInput } from "./event/event.ts";
import type { FaultControls } from "./fault/faults.ts";
import type { JournalEntry } from "./journal.ts";
import { type Json, toJson } from "./json.ts";
import { silentLogger } from "./logger.ts";
import { refuseProduction } from "./production-guard.ts";
import { type Clock, realClock } from "./time/clock.ts";
import { seededRandom } from "./time/random.ts";
import { createHttpTransport } from "./transport/http-transport.ts";
import { createRoutedTransport } from "./transport/routed-transport.ts";
import { type Handler, TransportError } from "./transport/transport.ts";

/** Where an engine listens. */
export interface EngineAddress {
  readonly url: string;
  readonly host: string;
  readonly port: number;
}

/** An in-process server of the Inngest protocol. */
export interface Engine extends EngineView {
  /** Serves the protocol over HTTP and starts to sync `apps`. `port` defaults to 0, a free one; `host` to 127.0.0.1. */
  listen(options?: { readonly port?: number; readonly host?: string }): Promise<EngineAddress>;
  /** Stops listening and syncing. Runs are dropped; there is nothing on disk. */
  close(): Promise<void>;
  /**
   * The engine's HTTP interface without a socket. Give it to the SDK's client in the same process:
   * `new Inngest({ id, isDev: true, baseUrl: engine.url, fetch: engine.fetch })`.
   */
  readonly fetch: typeof fetch;
  /** The base URL for in-process clients; over HTTP use what `listen` returns. */
  readonly url: string;
  /** The seed of chance: print it when a test fails, and give it again to see the same. */
  readonly seed: number;
  /** Syncs an app: a serve endpoint's URL, or a handler in this process. Throws a `TransportError` when it cannot. */
  register(target: string | Handler): Promise<void>;
  /** Sends events, as the event API takes them; returns their internal ids. */
  send(events: EventInput | readonly EventInput[]): Promise<{ ids: string[] }>;
  /** Wakes the run that waits for a signal; returns its id, or `undefined` where none waits. */
  signal(name: string, data?: Json): string | undefined;
  /** Resolves when nothing is under way and nothing can continue without time or a new event. */
  settled(): Promise<void>;
  /** Moves virtual time on, doing all that falls due on the way in order; resolves when quiet. */
  advance(duration: string | number): Promise<void>;
  /** Moves virtual time to a moment: milliseconds or an ISO time. */
  advanceTo(time: number | string): Promise<void>;
  /** The engine's present, in milliseconds. */
  now(): number;
  /** Skips new events for a function, and lets its queued work wait. Throws an `UnknownFunctionError`. */
  pause(functionId: string): void;
  /** Ends a pause: the queued work continues. Throws an `UnknownFunctionError`. */
  resume(functionId: string): void;
  /** Cancels a run; says whether it was under way. */
  cancel(runId: string): boolean;
  /** What happened, in order: equal for equal seeds. */
  journal(): JournalEntry[];
  /** Faults to inject. */
  readonly faults: FaultControls & {
    /** Kills the server's memory: events, runs, timers and dedupe are gone; apps sync again. */
    restart(): Promise<void>;
  };
}

const machineNow = () => Date.now();
const inProcessOrigin = "http://engine.invalid";
const defaultRetention = { runs: 10_000, events: 10_000, journal: 10_000 };

/**
 * Creates an engine. It does nothing until an app is registered and an event comes.
 *
 * @throws ProductionRefusedError with `NODE_ENV=production`, unless `allowProduction` is set.
 *
 * @example
 * const engine = createEngine({ clock: virtualClock(), handler });
 * await engine.send({ name: "user/signed.up", data: { id: 1 } });
 * await engine.advance("3d");
 * expect(engine.runs({ status: "Completed" })).toHaveLength(1);
 */
export function createEngine(options: EngineOptions = {}): Engine {
  refuseProduction(options.allowProduction === true);
  const clock = options.clock ?? realClock();
  const seed = options.seed ?? 1;
  const transport = createRoutedTransport({ outside: createHttpTransport() });
  const core = createEngineCore({
    ...completeOptions(options, clock),
    machineNow,
    random: options.random ?? seededRandom(seed),
    transport,
  });
  const { intake } = core;
  const faults = {
    ...core.faults,
    async restart(): Promise<void> {
      core.journal.record("warn", "fault.injected", { fault: "restart" });
      core.forget();
      for (const url of transport.urls()) await syncOnce(url);
      // An app that is down now is taken in later, as `watch` keeps asking.
      await Promise.all([...urls].map((url) => sync.sync(url)));
    },
  };
  const view = createEngineView(core);
  const router = createRouter({
    ...core,
    explain: (eventId) => view.explain(eventId),
    faults,
    eventKeys: options.eventKeys ?? [],
    urls: options.apps ?? [],
    now: () => clock.now(),
  });
  const sync = createAppSync({
    transport,
    registry: core.apps,
    journal: core.journal,
    signingKey: options.signingKey,
    machineNow,
    pollMs: options.pollMs ?? 5_000,
    sleep: async (ms, signal) => {
      await sleep(ms, undefined, { signal, ref: false }).catch(() => {});
    },
  });
  const urls = new Set(options.apps ?? []);
  let server: HttpServer | undefined;
  let starting: Promise<void> | undefined;

  async function syncOnce(url: string): Promise<void> {
    intake.hold();
    try {
      const problem = await sync.sync(url);
      if (problem !== undefined) throw new TransportError(`${url} did not sync: ${problem}`);
    } finally {
      intake.release();
    }
  }

  /** Syncs the handler at the first use: the app may be built after the engine that its client needs. */
  function start(): Promise<void> {
    if (starting === undefined) {
      const { handler } = options;
      starting = handler === undefined ? Promise.resolve() : syncOnce(transport.add(handler));
      // Who waits for the engine hears of it; whoever does not has the log.
      starting.catch(() => {});
    }
    return starting;
  }

  const afterResponse = createAfterResponse();
  /** Virtual time has one order of things, so its work follows within the same turn of the loop. */
  const afterReturn = clock.isVirtual ? queueMicrotask : setImmediate;
  const stallMs = options.stallMs ?? 10_000;
  const time = createEngineTime({ ...core, clock, stallMs, start, afterResponse });

  const respond = respondInProcess(router, afterResponse, afterReturn);

  return {
    ...view,
    async listen({ port = 0, host = "127.0.0.1" } = {}) {
      void start();
      const guard = createOriginGuard([...(options.allowedHosts ?? []), host]);
      server = await listenHttp({ router, guard, afterResponse }, { port, host });
      for (const url of urls) sync.watch(url);
      return addressOf(host, server.port);
    },
    async close() {
      sync.stop();
      core.forget();
      await server?.close();
      server = undefined;
    },
    fetch: (input, init) => {
      void start();
      return respond(readFetchArguments(input, init));
    },
    url: inProcessOrigin,
    seed,
    async register(target) {
      if (typeof target === "string") {
        urls.add(target);
        await syncOnce(target);
        sync.watch(target);
        return;
      }
      await syncOnce(transport.add(target));
    },
    async send(events) {
      void start();
      return { ids: encodeEvents(events).map((event) => intake.receive(event).internalId) };
    },
    signal: (name, data = null) => core.waitResolver.onSignal(name, data)?.id,
    ...time,
    now: () => clock.now(),
    pause: (functionId) => core.scheduler.setPaused(findFunction(core.apps, functionId), true),
    resume: (functionId) => core.scheduler.setPaused(findFunction(core.apps, functionId), false),
    cancel: (runId) => cancelRun(core, runId),
    journal: () => core.journal.entries(),
    faults,
  };
}

/** Responds to requests without a socket: what follows from one does so when its response was returned. */
function respondInProcess(
  router: Router,
  afterResponse: AfterResponse,
  schedule: (work: () => void) => void,
): Router {
  return async (request) => {
    const work = afterResponse.begin(schedule);
    try {
      return await router({
        method: request.method,
        url: request.url,
        headers: request.headers,
        text: () => request.text(),
        afterResponse: (each) => work.add(each),
      });
    } finally {
      work.sent();
    }
  };
}

/** The options that the core takes over, with their defaults. */
function completeOptions(
  options: EngineOptions,
  clock: Clock,
): Omit<EngineCoreDeps, "machineNow" | "random" | "transport"> {
  return {
    clock,
    logger: options.logger ?? silentLogger,
    fetch: options.fetch ?? ((input, init) => fetch(input, init)),
    signingKey: options.signingKey,
    retryMs: options.retryMs,
    maxCalls: options.maxCalls ?? (clock.isVirtual ? 1 : 100),
    retention: { ...defaultRetention, ...options.retention },
  };
}

function cancelRun(core: EngineCore, runId: string): boolean {
  const run = core.runs.find(runId);
  if (run === undefined || run.endedAtMs !== undefined) return false;
  core.finalizer.finalize(run, { status: "Cancelled", reason: "cancelled by the test" });
  return true;
}

function addressOf(host: string, port: number): EngineAddress {
  const shownHost = host.includes(":") ? `[${host}]` : host;
  return { url: `http://${shownHost}:${port}`, host, port };
}

/** Finds a function by its full id, or by its id within its app; throws an UnknownFunctionError for any other. */
function findFunction(apps: AppRegistry, id: string): FunctionConfig {
  const functions = apps.functions();
  const fn =
    apps.findFunction(id) ?? functions.find((each) => each.slug === `${each.appName}-${id}`);
  if (fn !== undefined) return fn;
  throw new UnknownFunctionError(
    id,
    functions.map((each) => each.slug),
  );
}

/** Encodes events as the SDK does, and not as the event API takes them: data is never missing. */
function encodeEvents(events: EventInput | readonly EventInput[]): Json[] {
  const list: readonly EventInput[] = isList(events) ? events : [events];
  return list.map((event) => toJson({ ...event, data: event.data ?? {} }));
}

function isList(events: EventInput | readonly EventInput[]): events is readonly EventInput[] {
  return Array.isArray(events);
}
