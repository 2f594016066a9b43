import {
  describeMessage,
  silentLogger,
  withDeadline,
  type Lane,
  type LogFields,
  type Logger,
} from "@evenkeel/core";
import {
  describeWriteRefusal,
  redactError,
  type HandshakeReading,
  type Ledger,
} from "@evenkeel/ledger";

import type { HandshakeEvidence, ProcessEvidence, ServerView } from "./evidence.ts";
import { rankSuspects, type Suspect } from "./suspects.ts";

/** Whether what is sent comes back, as receipts and `/readyz` say it. */
export interface HandshakeReport {
  /** When a handshake last came back, ISO 8601; `null`: none ever did. */
  readonly lastOkAt: string | null;
  /** How long that one took, in milliseconds. */
  readonly roundTripMs: number | null;
  /** When what does not come back was sent, ISO 8601; `null`: everything does. */
  readonly failingSince: string | null;
  /** Why, the likeliest first. While nothing fails, a second address of the app at most. */
  readonly suspects: readonly Suspect[];
}

/** What a watch works with. */
export interface HandshakeWatchOptions {
  readonly ledger: Pick<Ledger, "handshake">;
  /** The app's id in Inngest. */
  readonly appId: string;
  /** The full id of the function that a handshake starts, `<app>-<function>`. */
  readonly functionId: string;
  /** Concurrent runs that each function may have, by its full id. */
  readonly limits: Readonly<Record<string, number>>;
  /** The dispatcher's own. */
  readonly environment: string;
  /** The lane whose handshake is watched; defaults to `stable`. */
  readonly lane?: Lane;
  /** The app's release, which handshakes are noted with; empty by default. */
  readonly build?: string;
  /** What this process saw of Inngest; nothing by default. */
  readonly observed?: () => ProcessEvidence;
  /** Asks the Inngest server's API; `undefined`, and by default: it cannot be asked. */
  readonly look?: (
    asked: { readonly functionId: string; readonly sentKey: string | null },
    options: { readonly signal: AbortSignal },
  ) => Promise<ServerView | undefined>;
  /** How long a handshake may take before it fails, in milliseconds; defaults to 10,000. */
  readonly failingAfterMs?: number;
  /** How long the ledger, and the server's API, may each take, in milliseconds; defaults to 2,000. */
  readonly timeoutMs?: number;
  /** Where `handshake.failing` and `handshake.ok` are logged, each once as it turns; silent by default. */
  readonly logger?: Logger;
}

/**
 * Watches whether what is sent comes back. It never throws, and asks nobody but the ledger while all is well. Of many
 * callers at once one asks for all.
 */
export interface HandshakeWatch {
  /** The release that handshakes are noted with. */
  readonly build: string;
  /** Takes over where the handshake stands from a statement that brought it along: the next report asks nothing. */
  observe(reading: HandshakeReading): void;
  /** Takes note of a statement that failed: a write that was refused is a cause, until one is taken. */
  ledgerFailed(error: unknown): void;
  /** Takes note of a write that the ledger took. */
  ledgerWrote(): void;
  /** Returns the report while something does not come back, else `undefined`. */
  failing(): Promise<HandshakeReport | undefined>;
  /** Returns the report; `undefined` where the ledger could not be asked. */
  report(): Promise<HandshakeReport | undefined>;
  /** Returns the newest report that was made, and asks nobody: for a probe that must not wait. */
  latest(): HandshakeReport | undefined;
}

/** How old a reading may be, and the evidence of a failure, in milliseconds. */
const readingAgeMs = 2_000;
const evidenceAgeMs = 2_000;

/** What is failing, since when. */
type Failure = Pick<HandshakeEvidence, "since" | "missing">;

/** Creates a watch over one lane's handshake. */
export function createHandshakeWatch(options: HandshakeWatchOptions): HandshakeWatch {
  const { ledger, appId, environment, lane = "stable", build = "" } = options;
  const { functionId, limits, failingAfterMs = 10_000, timeoutMs = 2_000 } = options;
  const logger = options.logger ?? silentLogger;
  let known: KnownReading | undefined;
  let refusal: { readonly why: string; readonly since: Date } | undefined;
  let isFailing = false;
  let latest: HandshakeReport | undefined;

  const readings = new Shared(readingAgeMs, async () => {
    const reading = await attempt("read", () => ledger.handshake.read(lane));
    if (reading !== undefined) known = { reading, atMs: performance.now() };
  });
  const rankings = new Shared(evidenceAgeMs, () => gather());

  /** Bounded in time; what fails is `undefined`. */
  async function attempt<T>(
    during: string,
    ask: (signal: AbortSignal) => Promise<T>,
  ): Promise<T | undefined> {
    try {
      return await withDeadline(timeoutMs, ask);
    } catch (error) {
      const message = redactError(describeMessage(error));
      logger.debug("handshake.not_asked", { during, error: message });
      return undefined;
    }
  }

  function failureNow(): Failure | undefined {
    const isUnsent = options.observed?.().sendFailure !== undefined;
    return known && failureOf(known, isUnsent ? 0 : failingAfterMs);
  }

  async function gather(): Promise<readonly Suspect[]> {
    const failure = failureNow() ?? { since: new Date(), missing: "handshake" };
    const sentKey = known?.reading.sentKey ?? null;
    const [fromLedger, server] = await Promise.all([
      attempt("evidence", () => ledger.handshake.evidence({ appId, lane })),
      attempt("look", async (signal) => options.look?.({ functionId, sentKey }, { signal })),
    ]);
    return rankSuspects({
      ...failure,
      appId,
      lane,
      environment,
      functionId,
      limits,
      process: options.observed?.() ?? {},
      ...(refusal === undefined ? {} : { writeRefusal: refusal.why }),
      ...(fromLedger === undefined ? {} : { ledger: fromLedger }),
      ...(server === undefined ? {} : { server }),
    });
  }

  function turn(failing: boolean, fields: LogFields): void {
    if (failing === isFailing) return;
    isFailing = failing;
    if (failing) logger.error("handshake.failing", fields);
    else logger.info("handshake.ok", fields);
  }

  function isFresh(): boolean {
    return known !== undefined && performance.now() - known.atMs <= readingAgeMs;
  }

  async function report(): Promise<HandshakeReport | undefined> {
    latest = await makeReport();
    return latest;
  }

  async function makeReport(): Promise<HandshakeReport | undefined> {
    if (!isFresh()) await readings.get();
    const failure = isFresh() ? failureNow() : undefined;
    const since = failure?.since ?? refusal?.since;
    const lastOkAt = known?.reading.okAt ?? null;
    const roundTripMs = known?.reading.roundTripMs ?? null;
    if (since === undefined) {
      rankings.forget();
      // a ledger that is unavailable says nothing of Inngest.
      if (!isFresh()) return undefined;
      turn(false, { lane, lastOkAt, roundTripMs });
      const suspects = suspectAddresses(options);
      return { ...timesOf(lastOkAt, roundTripMs), failingSince: null, suspects };
    }
    const suspects = await rankings.get();
    const failingSince = since.toISOString();
    turn(true, { lane, lastOkAt, failingSince, suspects });
    return { ...timesOf(lastOkAt, roundTripMs), failingSince, suspects };
  }

  return {
    build,
    observe: (reading) => {
      known = { reading, atMs: performance.now() };
      refusal = undefined;
    },
    ledgerWrote: () => {
      refusal = undefined;
    },
    ledgerFailed: (error) => {
      const why = describeWriteRefusal(error);
      if (why !== undefined) refusal ??= { why, since: new Date() };
    },
    failing: async () => {
      const current = await report();
      return current?.failingSince === null ? undefined : current;
    },
    report,
    latest: () => latest,
  };
}

function timesOf(
  lastOkAt: string | null,
  roundTripMs: number | null,
): Pick<HandshakeReport, "lastOkAt" | "roundTripMs"> {
  return { lastOkAt: lastOkAt === null ? null : new Date(lastOkAt).toISOString(), roundTripMs };
}

/** A reading, and when it was made. */
interface KnownReading {
  readonly reading: HandshakeReading;
  readonly atMs: number;
}

/** What has been out for too long. What could not be sent need not be waited for. */
function failureOf({ reading, atMs }: KnownReading, failingAfterMs: number): Failure | undefined {
  const { unansweredSince, unansweredMs, unstartedSince } = reading;
  const waitedMs = (unansweredMs ?? 0) + performance.now() - atMs;
  if (unansweredSince !== null && waitedMs >= failingAfterMs) {
    return { since: new Date(unansweredSince), missing: "handshake" };
  }
  return unstartedSince === null ? undefined : { since: new Date(unstartedSince), missing: "work" };
}

/** Two addresses that serve one app are named while all is well: whichever syncs last takes the calls. */
function suspectAddresses(options: HandshakeWatchOptions): readonly Suspect[] {
  const { otherAddresses = [] } = options.observed?.() ?? {};
  if (otherAddresses.length === 0) return [];
  const { appId, environment, functionId, limits, lane = "stable" } = options;
  return rankSuspects({
    appId,
    lane,
    environment,
    functionId,
    limits,
    since: new Date(),
    missing: "handshake",
    process: { otherAddresses },
  });
}

/** A result that callers at one time share, and that is kept for a while. */
class Shared<T> {
  readonly #keptMs: number;
  readonly #make: () => Promise<T>;
  #made: { readonly result: Promise<T>; readonly atMs: number } | undefined;

  constructor(keptMs: number, make: () => Promise<T>) {
    this.#keptMs = keptMs;
    this.#make = make;
  }

  get(): Promise<T> {
    const now = performance.now();
    if (this.#made === undefined || now - this.#made.atMs > this.#keptMs) {
      this.#made = { result: this.#make(), atMs: now };
    }
    return this.#made.result;
  }

  forget(): void {
    this.#made = undefined;
  }
}
