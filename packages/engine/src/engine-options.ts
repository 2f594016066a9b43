import type { Logger } from "./logger.ts";
import type { Clock } from "./time/clock.ts";
import type { Random } from "./time/random.ts";
import type { Handler } from "./transport/transport.ts";

/** Options of `createEngine`; every one has a default. */
export interface EngineOptions {
  /** Where time comes from; defaults to `realClock()`. A `virtualClock()` stands still until `advance`. */
  readonly clock?: Clock;
  /** Where chance (jitter, ids) comes from; defaults to a generator seeded with `seed`. */
  readonly random?: Random;
  /** The seed of chance: same seed, same app, same order of events. Defaults to 1; unused where `random` is given. */
  readonly seed?: number;
  /** An app in this process: a fetch-style handler, as `serve` from `inngest/edge` makes one. Defaults to no app. */
  readonly handler?: Handler;
  /**
   * Serve endpoints of apps, synced from `listen` on: each until it is up, and then every `pollMs`. Defaults
   * to none.
   */
  readonly apps?: readonly string[];
  /** Receives what happens as events with fields; defaults to `silentLogger`. */
  readonly logger?: Logger;
  /** Signs requests to apps, which then run in cloud mode with the same key; by default they are unsigned. */
  readonly signingKey?: string;
  /** The event keys that the event API takes; defaults to an empty list, which means any key. */
  readonly eventKeys?: readonly string[];
  /**
   * The most requests to apps that are under way at once. Defaults to 100 in real time, and to 1 in virtual
   * time: requests then follow one another, so the order of everything is the same every time. Raise it
   * where a step waits for another run.
   */
  readonly maxCalls?: number;
  /**
   * How much is kept in memory: ended runs, events with their decisions, and journal entries. Each defaults
   * to 10,000. `journal: 0` keeps no journal; runs that have not ended are always kept.
   */
  readonly retention?: {
    readonly runs?: number;
    readonly events?: number;
    readonly journal?: number;
  };
  /** How often `apps` are asked for changes, in milliseconds; defaults to 5,000. An app that is down is asked at least every second. `Infinity`: each until it is up, and no more. */
  readonly pollMs?: number;
  /**
   * How long a call may hang in virtual time before `settled` and `advance` throw an `EngineStalledError`,
   * in real milliseconds. Defaults to 10,000; unused in real time.
   */
  readonly stallMs?: number;
  /** Carries out `step.fetch`; defaults to the global `fetch`. */
  readonly fetch?: typeof fetch;
  /** Whether the engine starts with `NODE_ENV=production`; defaults to `false`, which throws. */
  readonly allowProduction?: boolean;
  /**
   * The time between tries of what failed, in milliseconds: the same each time, without chance. Defaults to
   * the server's table, 15 s to 2 h and up to 30 s of chance. A `Retry-After` of the app still wins.
   */
  readonly retryMs?: number;
  /**
   * Names under which the engine may be asked over HTTP, and whose pages may ask it, beside those of this
   * machine: `host.docker.internal`, for example. Defaults to none; others are answered 403.
   */
  readonly allowedHosts?: readonly string[];
}
