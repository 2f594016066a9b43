import type { Handler } from "../transport/transport.ts";

/** How a server is started, where a scenario needs another way than the default. */
export interface HostOptions {
  /** A fixed time between tries, in whole seconds of milliseconds; defaults to the server's table. */
  readonly retryMs?: number;
}

/** A server that scenarios run against: the engine, or a real Inngest server. */
export interface ConformanceHost {
  readonly name: string;
  /** Where its HTTP interface is, for `fetch`. */
  readonly baseUrl: string;
  readonly fetch: typeof fetch;
  /** Serves an app under a path of its own and syncs it; a handler that throws breaks its connection. */
  serve(appId: string, handler: Handler): Promise<void>;
  /** The server's present, in milliseconds. */
  now(): number;
  /** Lets time pass: really, or virtually. */
  pass(ms: number): Promise<void>;
  /** Asks until there is something, letting time pass between. Throws after `withinMs`. */
  until<Found>(
    check: () => Promise<Found | undefined> | Found | undefined,
    withinMs: number,
  ): Promise<Found>;
  /** Keeps a function busy for a moment, so that others may overlap with it. */
  work(): Promise<void>;
  close(): Promise<void>;
}

/** What a host throws when an awaited result does not come. */
export class ConformanceTimeoutError extends Error {
  override readonly name = "ConformanceTimeoutError";
}
