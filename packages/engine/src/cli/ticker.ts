import type { Logger } from "../logger.ts";

/** Calls an app's cron route again and again, as a scheduler does. */
export interface Ticker {
  /** Ends the calls; one under way is broken off. */
  stop(): void;
}

/** What a ticker works with. */
export interface TickerDeps {
  readonly url: string;
  readonly everyMs: number;
  /** What the route asks for as `Authorization: Bearer …`; without one a tick carries none. */
  readonly secret: string | undefined;
  readonly logger: Logger;
  /** Waits, and may be broken off. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** How often an app that is not up yet is asked. */
const absentMs = 1_000;
/** A route may do the work itself; it gets as long as hosts commonly give. */
const longestTickMs = 300_000;

/** Why a status is not what a scheduler wants to see, where a word more helps. */
const hints: Readonly<Record<number, string>> = {
  401: "CRON_SECRET here is not the app's",
  404: "there is no such route; name it with --tick-url",
  405: "the route takes no POST",
  503: "the route is not configured, or its dispatch failed",
};

/** Starts a {@link Ticker}: the first tick when the app answers, and then one each `everyMs`. */
export function startTicker(deps: TickerDeps): Ticker {
  const { url, everyMs, secret, logger } = deps;
  const stopping = new AbortController();
  let isAbsent = false;

  /** Says whether the app answered. */
  async function tick(): Promise<boolean> {
    try {
      const response = await fetch(url, {
        method: "POST",
        redirect: "manual",
        headers: secret === undefined ? {} : { authorization: `Bearer ${secret}` },
        signal: AbortSignal.any([stopping.signal, AbortSignal.timeout(longestTickMs)]),
      });
      const mode = readMode(await response.text());
      isAbsent = false;
      const hint = hints[response.status];
      const fields = { url, status: response.status, ...(mode === undefined ? {} : { mode }) };
      if (response.ok) logger.info("tick.responded", fields);
      else logger.warn("tick.refused", { ...fields, ...(hint === undefined ? {} : { hint }) });
      return true;
    } catch (error) {
      if (stopping.signal.aborted) return true;
      if (!isAbsent) logger.warn("tick.unreachable", { url, reason: reasonOf(error) });
      isAbsent = true;
      return false;
    }
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      const startedMs = performance.now();
      const hasResponded = await tick();
      const pauseMs = hasResponded ? everyMs - (performance.now() - startedMs) : absentMs;
      await deps.sleep(Math.max(pauseMs, 0), stopping.signal);
    }
  }

  void run();
  return { stop: () => stopping.abort() };
}

/** What the receipt says of itself. */
function readMode(text: string): string | undefined {
  try {
    const body: unknown = JSON.parse(text);
    if (typeof body !== "object" || body === null || !("mode" in body)) return undefined;
    return typeof body.mode === "string" ? body.mode : undefined;
  } catch {
    return undefined;
  }
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  if (cause instanceof Error && "code" in cause) return String(cause.code);
  return error.message;
}
