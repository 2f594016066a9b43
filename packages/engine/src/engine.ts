import { setTimeout as sleep } from "node:timers/promises";
import { createAppSync } from "./app/app-sync.ts";
import { type HttpServer, listenHttp } from "./api/http-server.ts";
import { type InboundRequest, readFetchArguments } from "./api/inbound-request.ts";
import { createRouter } from "./api/router.ts";
import { createEngineCore } from "./engine-core.ts";
import { type EngineView, createEngineView } from "./engine-view.ts";
import { EngineStalledError, UnknownFunctionError } from "./engine-error.ts";
import type { EventInput } from "./event/event.ts";
import type { FunctionConfig } from "./app/function-config.ts";
import type { FaultControls } from "./fault/faults.ts";
import type { JournalEntry } from "./journal.ts";
import { type Json, toJson } from "./json.ts";
import { type Logger, silentLogger } from "./logger.ts";
import { refuseProduction } from "./production-guard.ts";
import { type Clock, realClock } from "./time/clock.ts";
import { parseDurationMs } from "./time/duration.ts";
import { type Random, seededRandom } from "./time/random.ts";
import { createHandlerTransport } from "./transport/handler-transport.ts";
import { createHttpTransport } from "./transport/http-transport.ts";
import { type Handler, type Transport, TransportError } from "./transport/transport.ts";

/** Options of {@link createEngine}; every one has a default. */
export interface EngineOptions {
  /** Where time comes from: `realClock()`, or `virtualClock()` which stands until `advance`. */
  readonly clock?: Clock;
  /** Where chance comes from (jitter, ids); by default seeded with `seed`. */
  readonly random?: Random;
  /** The seed of chance: same seed, same app, same order of events; 1 by default. */
  readonly seed?: number;
  /** An app in this process: a fetch-style handler, as `serve` from `inngest/edge` makes one. */
  readonly handler?: Handler;
  /** Serve endpoints of apps, synced from `listen` on: until each is up, and whenever it changes. */
  readonly apps?: readonly string[];
  /** Hears what happens; silent by default. */
  readonly logger?: Logger;
  /** Signs requests to apps, which then run in cloud mode with the same key; unsigned by default. */
  readonly signingKey?: string;
  /** The event keys that the event API takes; by default any. */
  readonly eventKeys?: readonly string[];
  /**
   * Requests to apps at once. By default 100 in real time. In virtual time 1: requests then follow one
   * another, so the order of everything is the same every time; raise it where a step waits for another.
   */
  readonly maxCalls?: number;
  /** How much is kept in memory: ended runs and events (10,000 each), and journal entries (10,000). */
  readonly retention?: {
    readonly runs?: number;
    readonly events?: number;
    readonly journal?: number;
  };
  /** How often `apps` are asked for changes, in milliseconds; 5,000 by default. */
  readonly pollMs?: number;
  /** In virtual time, how long in real milliseconds a call may hang before `advance` gives up; 10,000. */
  readonly stallMs?: number;
  /** Carries out `step.fetch`; the global `fetch` by default. */
  readonly fetch?: typeof fetch;
  /** Starts even with `NODE_ENV=production`; `false` by default. */
  readonly allowProduction?: boolean;
}

/** Where an engine listens. */
export interface EngineAddress {
  readonly url: string;
  readonly host: string;
  readonly port: number;
}

/** An in-process server of the Inngest protocol. */
export interface Engine extends EngineView {
  /** Serves the protocol over HTTP and starts to sync `apps`; port 0, the default, takes a free one. */
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
  /** Syncs an app: a serve endpoint's URL, or a handler in this process. Throws when it cannot. */
  register(target: string | Handler): Promise<void>;
  /** Sends events, as the event API takes them; returns their internal ids. */
  send(events: EventInput | readonly EventInput[]): Promise<{ ids: string[] }>;
  /** Wakes the run that waits for a signal; returns its id. */
  signal(name: string, data?: Json): string | undefined;
  /** Resolves when nothing is under way and nothing can go on without time or a new event. */
  settled(): Promise<void>;
  /** Moves virtual time on, doing all that falls due on the way in order; resolves when quiet. */
  advance(duration: string | number): Promise<void>;
  /** Moves virtual time to a moment: milliseconds or an ISO time. */
  advanceTo(time: number | string): Promise<void>;
  /** The engine's present, in milliseconds. */
  now(): number;
  /** Skips new events for a function and holds its queued work. */
  pause(functionId: string): void;
  /** Ends a pause. */
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
  const outsideFetch = options.fetch ?? ((input, init) => fetch(input, init));
  const http = createHttpTransport();
  const handlers = new Map<string, Transport>();
  const transport: Transport = {
    send(request) {
      const handler = handlers.size === 0 ? undefined : handlers.get(new URL(request.url).origin);
      return (handler ?? http).send(request);
    },
  };
  const core = createEngineCore({
    clock,
    machineNow,
    random: options.random ?? seededRandom(seed),
    logger: options.logger ?? silentLogger,
    transport,
    fetch: outsideFetch,
    signingKey: options.signingKey,
    maxCalls: options.maxCalls ?? (clock.isVirtual ? 1 : 100),
    retention: { ...defaultRetention, ...options.retention },
  });
  const { executor, intake } = core;
  const faults = {
    ...core.faults,
    async restart(): Promise<void> {
      core.journal.record("warn", "fault.injected", { fault: "restart" });
      core.forget();
      for (const origin of handlers.keys()) await syncOnce(`${origin}/api/inngest`);
      // An app that is down now is taken in later, as `watch` goes on asking.
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

  function addHandler(handler: Handler): string {
    const origin = `http://app-${handlers.size + 1}.engine.invalid`;
    handlers.set(origin, createHandlerTransport({ handler }));
    return `${origin}/api/inngest`;
  }

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
      starting = handler === undefined ? Promise.resolve() : syncOnce(addHandler(handler));
      // Who waits for the engine hears of it; whoever does not has the log.
      starting.catch(() => {});
    }
    return starting;
  }

  async function becomeQuiet(): Promise<void> {
    await start();
    executor.pump();
    if (!executor.isIdle()) await executor.idle();
  }

  /** Gives up when a call hangs: virtual time cannot pass while an app works. */
  async function guardStall<T>(work: Promise<T>): Promise<T> {
    if (!clock.isVirtual) return work;
    const stallMs = options.stallMs ?? 10_000;
    let watched: string | undefined;
    let timer: NodeJS.Timeout | undefined;
    const stalled = new Promise<never>((_resolve, reject) => {
      timer = setInterval(() => {
        const calls = executor.calls();
        const seen = calls.map((call) => `${call.runId} ${call.generation}`).join();
        if (seen !== "" && seen === watched) reject(new EngineStalledError(calls, stallMs));
        watched = seen;
      }, stallMs / 2);
    });
    try {
      return await Promise.race([work, stalled]);
    } finally {
      clearInterval(timer);
    }
  }

  async function moveTo(targetMs: number): Promise<void> {
    await becomeQuiet();
    for (;;) {
      const nextMs = core.timers.nextAtMs();
      if (nextMs === undefined || nextMs > targetMs) break;
      clock.moveTo(nextMs);
      await becomeQuiet();
    }
    clock.moveTo(targetMs);
    await becomeQuiet();
  }

  function findFunction(id: string): FunctionConfig {
    const fn =
      core.apps.findFunction(id) ??
      core.apps.functions().find((candidate) => candidate.slug === `${candidate.appName}-${id}`);
    if (fn === undefined) {
      throw new UnknownFunctionError(
        id,
        core.apps.functions().map((each) => each.slug),
      );
    }
    return fn;
  }

  async function respond(request: InboundRequest): Promise<Response> {
    void start();
    return router(request);
  }

  return {
    ...view,
    async listen({ port = 0, host = "127.0.0.1" } = {}) {
      void start();
      server = await listenHttp(router, { port, host });
      for (const url of urls) sync.watch(url);
      const shownHost = host.includes(":") ? `[${host}]` : host;
      return { url: `http://${shownHost}:${server.port}`, host, port: server.port };
    },
    async close() {
      sync.stop();
      core.forget();
      await server?.close();
      server = undefined;
    },
    fetch: (input, init) => respond(readFetchArguments(input, init)),
    url: inProcessOrigin,
    seed,
    async register(target) {
      if (typeof target === "string") {
        urls.add(target);
        await syncOnce(target);
        sync.watch(target);
        return;
      }
      await syncOnce(addHandler(target));
    },
    async send(events) {
      void start();
      const list: readonly EventInput[] = isList(events) ? events : [events];
      // As the SDK does, and not the event API: data is never missing.
      const complete = list.map((event) => toJson({ ...event, data: event.data ?? {} }));
      return { ids: complete.map((event) => intake.receive(event).internalId) };
    },
    signal: (name, data = null) => core.waitResolver.onSignal(name, data)?.id,
    settled: () => guardStall(becomeQuiet()),
    advance(duration) {
      const ms = parseDurationMs(duration);
      if (ms === undefined || ms < 0) {
        throw new TypeError(`${JSON.stringify(duration)} is no duration; write "15m".`);
      }
      return guardStall(moveTo(clock.now() + ms));
    },
    advanceTo: (time) => guardStall(moveTo(typeof time === "number" ? time : Date.parse(time))),
    now: () => clock.now(),
    pause: (functionId) => core.scheduler.setPaused(findFunction(functionId), true),
    resume: (functionId) => core.scheduler.setPaused(findFunction(functionId), false),
    cancel(runId) {
      const run = core.runs.find(runId);
      if (run === undefined || run.endedAtMs !== undefined) return false;
      core.finalizer.finalize(run, { status: "Cancelled", reason: "cancelled by the test" });
      return true;
    },
    journal: () => core.journal.entries(),
    faults,
  };
}

function isList(events: EventInput | readonly EventInput[]): events is readonly EventInput[] {
  return Array.isArray(events);
}
