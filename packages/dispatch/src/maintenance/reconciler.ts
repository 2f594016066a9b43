import { defined, resolveLogger, type Logger } from "@evenkeel/core";
import type { Ledger } from "@evenkeel/ledger";

import type { Dispatcher } from "../dispatcher/dispatcher.ts";
import { defaultRepairTimes } from "../dispatcher/repair-times.ts";

/** What a reconciler works with. */
export interface ReconcilerOptions {
  readonly ledger: Pick<Ledger, "reconcile" | "windows">;
  readonly dispatcher: Pick<Dispatcher, "repair" | "whyHeld">;
  /** Names this host in the ledger. */
  readonly owner: string;
  /**
   * How long a sent window may wait for its run before it is sent again, in milliseconds; defaults to 120,000. While
   * runs are under way it is taken to wait behind them, unless a window sent after it started at once: then it is sent
   * again after 65 minutes. Each repair of a window doubles the pause before its next one, from this time to 30 minutes.
   */
  readonly neverStartedAfterMs?: number;
  /** How long a run may be silent before another takes its window over, in milliseconds; defaults to 1,200,000. */
  readonly staleAfterMs?: number;
  /**
   * How old a window may be to be repaired, in milliseconds; defaults to 24 hours. Older ones get a dead letter. A
   * window's age counts from its start, or from its first claim where that came later and while the window lasted.
   */
  readonly maxAgeMs?: number;
  /** Most windows repaired in one call; defaults to 25. */
  readonly limit?: number;
  /** Where repairs are logged; defaults to the console. */
  readonly logger?: Logger;
}

/** What one reconciliation did. */
export interface ReconcileReport {
  /** Windows sent again. */
  readonly repaired: number;
  /** Windows whose repair could not be sent; a later call tries again. */
  readonly failed: number;
  /** Windows that the signal left to the next call. */
  readonly left: number;
  /** Why no window was repaired: a rollback is on, or Inngest is off. They wait until it ends. Absent: they were. */
  readonly held?: string;
  /** Runs marked as stale. */
  readonly staleRuns: number;
  /** Windows that ran twice. Never repaired, never hidden. */
  readonly breaches: number;
  /** Windows too old to be repaired that have a dead letter now. */
  readonly givenUp: number;
}

/** Repairs what the dispatch path left undone. */
export interface Reconciler {
  /**
   * Looks once, and repairs what it finds, within its limit. Safe from many hosts at once. When the signal fires, the
   * send under way ends, and what is left is released to the next call. Under a rollback nothing is sent, and no repair
   * works inline.
   */
  run(options?: { readonly signal?: AbortSignal }): Promise<ReconcileReport>;
}

/** Creates a reconciler. The maintenance function calls it; a host without Inngest can call it by itself. */
export function createReconciler(options: ReconcilerOptions): Reconciler {
  const { ledger, dispatcher, owner } = options;
  const logger = resolveLogger(options.logger);
  return {
    run: async ({ signal } = {}) => {
      const held = dispatcher.whyHeld();
      if (held !== undefined) logger.warn("reconcile.held", { reason: held });
      const { repairs, stale, breaches, givenUp } = await ledger.reconcile({
        owner,
        leaseMs: 60_000,
        neverStartedAfterMs: options.neverStartedAfterMs ?? defaultRepairTimes.neverStartedAfterMs,
        staleAfterMs: options.staleAfterMs ?? defaultRepairTimes.staleAfterMs,
        maxAgeMs: options.maxAgeMs ?? 24 * 60 * 60_000,
        limit: options.limit ?? 25,
        repairs: held === undefined,
      });
      for (const run of stale) logger.warn("reconcile.stale_run", { ...run });
      for (const breach of breaches) logger.error("reconcile.window_ran_twice", { ...breach });
      for (const dispatchKey of givenUp) logger.error("reconcile.given_up", { dispatchKey });
      let [repaired, failed] = [0, 0];
      // One after another: a server that was unavailable is not met with everything at once.
      for (const repair of repairs) {
        if (signal?.aborted === true) break;
        const { mode } = await dispatcher.repair(repair, defined({ signal }));
        const { dispatchKey, repairCount } = repair.window;
        logger.warn("reconcile.repair", { reason: repair.reason, dispatchKey, repairCount, mode });
        if (mode === "dispatch-only") repaired += 1;
        else failed += 1;
      }
      const left = repairs.slice(repaired + failed);
      const [first] = left;
      if (first !== undefined) {
        const dispatchKeys = left.map(({ window }) => window.dispatchKey);
        await ledger.windows.releaseRepairs(dispatchKeys, first.fence);
      }
      return {
        repaired,
        failed,
        left: left.length,
        ...defined({ held }),
        staleRuns: stale.length,
        breaches: breaches.length,
        givenUp: givenUp.length,
      };
    },
  };
}
