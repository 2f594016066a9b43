import type { Logger } from "./logger.ts";
import type { Clock } from "./time/clock.ts";
import type { Random } from "./time/random.ts";
import type { Handler } from "./transport/transport.ts";

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
