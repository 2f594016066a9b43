import {
  describeMessage,
  resolveLogger,
  withDeadline,
  type Lane,
  type Logger,
} from "@evenkeel/core";
import { redactError, type Ledger } from "@evenkeel/ledger";

import { nudgeWindowSeconds } from "../schedule/dispatch-window.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { Receipt } from "./receipt.ts";

/** What a nudge works with. */
export interface NudgeOptions {
  readonly dispatcher: Pick<Dispatcher, "nudge">;
  readonly ledger: Pick<Ledger, "jobs">;
  /** The id of the schedule whose dispatches drain the queue; its scope is global. */
  readonly schedule: string;
  /** The lane whose drains are looked for; defaults to `stable`. The dispatcher's own. */
  readonly lane?: Lane;
  /** Decides seconds and the time of backing off; defaults to the system's clock. */
  readonly clock?: { now(): Date };
  /** Where failures are logged; defaults to the console. */
  readonly logger?: Logger;
  /** How long the ledger may take before the nudge has failed, in milliseconds; defaults to 5,000. */
  readonly ledgerTimeoutMs?: number;
}

/**
 * What became of a nudge. `polled`: a drain waits for new jobs, so nothing had to be sent. `backing-off`: the last
 * send failed, and the next is tried later. `dispatched` and `not-dispatched` carry the receipt, `failed` the error.
 */
export type NudgeOutcome =
  | { readonly outcome: "polled" | "backing-off" }
  | { readonly outcome: "dispatched" | "not-dispatched"; readonly receipt: Receipt }
  | { readonly outcome: "failed"; readonly error: string };

/**
 * Asks for a dispatch at once. Call it after the transaction that enqueued has committed. It never rejects and
 * need not be awaited; a serverless host passes the promise to `after()` or `waitUntil()`.
 */
export type Nudge = () => Promise<NudgeOutcome>;

/** Between two looks at the ledger, in milliseconds. */
const spacingMs = 50;

/** The longest time that a host backs off after failed nudges, in milliseconds. */
const longestCooldownMs = 60_000;

/**
 * Creates a nudge: the first enqueue after quiet starts a drain in well under a second instead of at the next tick.
 *
 * While a drain of the lane waits for new jobs (`idleTimeoutMs`), a nudge costs one small query. Otherwise it dispatches
 * a window of one second, through the same windows and keys as a tick: at most one per second and schedule, from
 * however many hosts. Calls share their looks: one is under way, and one follows it.
 *
 * @example
 * const nudge = createNudge({ dispatcher, ledger, schedule: "background-jobs" });
 * await prisma.$transaction((tx) => enqueue(tx, sendReply, { tenantId, payload }));
 * after(nudge);
 */
export function createNudge(options: NudgeOptions): Nudge {
  const { dispatcher, ledger, schedule, lane = "stable", ledgerTimeoutMs = 5_000 } = options;
  const clock = options.clock ?? { now: () => new Date() };
  const logger = resolveLogger(options.logger);
  let current: Promise<unknown> = Promise.resolve();
  let next: Promise<NudgeOutcome> | undefined;
  let failures = 0;
  let cooldownUntilMs = 0;

  async function look(): Promise<NudgeOutcome> {
    for (;;) {
      // Later nudges wait for this one: a connection that hangs must not silence them all.
      const hasPoller = await withDeadline(ledgerTimeoutMs, () => ledger.jobs.hasPoller(lane));
      if (hasPoller) return { outcome: "polled" };
      if (clock.now().getTime() < cooldownUntilMs) return { outcome: "backing-off" };
      const receipt = await dispatcher.nudge({ schedule, source: "nudge" });
      if (receipt.mode !== "dispatch-duplicate-suppressed") {
        const isSent = receipt.mode === "dispatch-only";
        backOff(receipt.mode === "dispatch-failed");
        return { outcome: isSent ? "dispatched" : "not-dispatched", receipt };
      }
      // This second is taken: its drain may have looked before the caller committed. Once more in the next one.
      const lengthMs = nudgeWindowSeconds * 1_000;
      await delay(lengthMs - (clock.now().getTime() % lengthMs));
    }
  }

  /** After a failure nothing is sent for 1 s, and twice as long each time. Ticks continue all the same. */
  function backOff(hasFailed: boolean): void {
    failures = hasFailed ? failures + 1 : 0;
    const cooldownMs = Math.min(longestCooldownMs, 1_000 * 2 ** (failures - 1));
    cooldownUntilMs = hasFailed ? clock.now().getTime() + cooldownMs : 0;
  }

  async function follow(before: Promise<unknown>): Promise<NudgeOutcome> {
    await before;
    // Whoever calls from here on committed after this look may have begun.
    next = undefined;
    try {
      return await look();
    } catch (error) {
      const message = redactError(describeMessage(error));
      logger.warn("nudge.failed", { schedule, error: message });
      backOff(true);
      return { outcome: "failed", error: message };
    }
  }

  return () => {
    if (next !== undefined) return next;
    const look = follow(current);
    next = look;
    current = look.then(() => delay(spacingMs));
    return look;
  };
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
