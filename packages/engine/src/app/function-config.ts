import type { JsonObject } from "../json.ts";

/** A limit of runs over a time, per key. */
export interface RateLimit {
  readonly limit: number;
  readonly periodMs: number;
  /** Runs let through at once beyond the steady pace. */
  readonly burst: number;
  readonly key?: string;
}

/** How many requests of a function may be under way at once. */
export interface ConcurrencyLimit {
  readonly limit: number;
  readonly scope: "fn" | "env" | "account";
  readonly key?: string;
}

/** What starts a function. */
export type Trigger =
  | { readonly kind: "event"; readonly event: string; readonly expression?: string }
  | { readonly kind: "cron"; readonly cron: string; readonly jitterMs: number };

/** A function as an app registered it: checked, with durations in milliseconds. */
export interface FunctionConfig {
  /** The server's id, a UUID that depends on app and slug alone. */
  readonly id: string;
  /** The full id, `<app>-<function>`. */
  readonly slug: string;
  readonly name: string;
  readonly appName: string;
  /** Where the app takes call requests for it. */
  readonly url: string;
  /** Tries per step: one more than the retries. */
  readonly maxAttempts: number;
  readonly triggers: readonly Trigger[];
  readonly concurrency: readonly ConcurrencyLimit[];
  /** Runs under way at once, from start to finish. */
  readonly runConcurrency: readonly { readonly limit: number; readonly key?: string }[];
  readonly priority?: string;
  readonly idempotency?: string;
  readonly rateLimit?: RateLimit;
  readonly throttle?: RateLimit;
  readonly debounce?: {
    readonly periodMs: number;
    readonly timeoutMs?: number;
    readonly key?: string;
  };
  readonly batch?: {
    readonly maxSize: number;
    readonly timeoutMs: number;
    readonly key?: string;
    readonly condition?: string;
  };
  readonly startTimeoutMs?: number;
  readonly finishTimeoutMs?: number;
  readonly cancelOn: readonly {
    readonly event: string;
    readonly timeout?: string;
    readonly condition?: string;
  }[];
  readonly singleton?: { readonly mode: "skip" | "cancel"; readonly key?: string };
  /** What the app sent, as the `/dev` page shows it. */
  readonly source: JsonObject;
}

/** A function that an app registered and the server refuses. */
export class FunctionRefusedError extends Error {
  override readonly name = "FunctionRefusedError";
}
