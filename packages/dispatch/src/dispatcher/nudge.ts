import {
  describeMessage,
  silentLogger,
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
  /** The schedule whose dispatches drain the queue, of the global scope. */
  readonly schedule: string;
  /** The lane whose drains are looked for: the dispatcher's, `stable` by default. */
  readonly lane?: Lane;
  readonly clock?: { now(): Date };
  readonly logger?: Logger;
  /** How long the ledger may take to answer before the nudge has failed, 5 s by default. */
  readonly ledgerTimeoutMs?: number;
}

/**
 * What became of a nudge: `attended`: a drain waits for new jobs, nothing had to be sent; `resting`: the last send
 * failed, and the next is tried later; otherwise the dispatch's receipt, or the error that kept it from being made.
 */
export type NudgeOutcome =
  | { readonly outcome: "polled" | "backing-off" }
  | { readonly outcome: "dispatched" | "not-dispatched"; readonly receipt: Receipt }
  | { readonly outcome: "failed"; readonly error: string };

/**
 * Asks for a dispatch at once. To be called after the transaction that enqueued has committed; it never throws and
 * needs not be awaited, but for a serverless host, which hands the promise to `after()` or `waitUntil()`.
 */
export type Nudge = () => Promise<NudgeOutcome>;

/** Between two looks at the ledger, in milliseconds. */
const spacingMs = 50;

const longestCooldownMs = 60_000;

/**
 * Creates a nudge: the first enqueue after quiet starts a drain in well under a second instead of at the next tick.
 *
 * While a drain of the lane waits for new jobs (`idleTimeoutMs`), a nudge costs one small query. Otherwise it dispatches
 * a window of one second, through the same windows and keys as a tick: at most one per second and schedule, from
 * however many hosts. Calls share what they ask: one look is under way, and one follows it.
 *
 * @example
 * const nudge = createNudge({ dispatcher, ledger, schedule: "background-jobs" });
 * await prisma.$transaction((tx) => enqueue(tx, sendReply, { tenantId, payload }));
 * after(nudge);
 */
export function createNudge(options: NudgeOptions): Nudge {
  const { dispatcher, ledger, schedule, lane = "stable", ledgerTimeoutMs = 5_000 } = options;
  const clock = options.clock ?? { now: () => new Date() };
  const logger = options.logger ?? silentLogger;
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
        rest(receipt.mode === "dispatch-failed");
        return { outcome: isSent ? "dispatched" : "not-dispatched", receipt };
      }
      // This second is taken: its drain may have looked before the caller committed. Once more in the next one.
      const lengthMs = nudgeWindowSeconds * 1_000;
      await delay(lengthMs - (clock.now().getTime() % lengthMs));
    }
  }

  /** After a failure nothing is sent for a while, twice as long each time: ticks go on all the same. */
  function rest(hasFailed: boolean): void {
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
      rest(true);
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
