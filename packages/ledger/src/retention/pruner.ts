import { resolveLogger, systemClock, type Clock, type Logger } from "@evenkeel/core";

import { LedgerError } from "../database/ledger-error.ts";
import type { Prunable, PruneRequest } from "./pruning.ts";
import { resolveRetention } from "./resolved-retention.ts";

/** What a pruner works with. */
export interface PrunerOptions extends Omit<PruneRequest, "dryRun"> {
  readonly ledger: Prunable;
  /**
   * For how long one run begins batches, in milliseconds: 0 to 3,600,000, 20,000 by default. 0 makes one batch. After
   * each batch the run rests for as long as the batch took, so that it takes half of one connection's time: what else
   * the database does is not delayed by a backlog. What is left is for the next run.
   */
  readonly budgetMs?: number;
  /** Most batches in one run, from 1. No limit by default: `budgetMs` ends a run. */
  readonly maxBatches?: number;
  readonly logger?: Logger;
  /** Measures the budget. Defaults to the process's own. */
  readonly clock?: Clock;
}

/** What one run deleted. */
export interface PrunerReport {
  /** Rows over all tables. */
  readonly pruned: number;
  /** Whether the next run has more to do already. */
  readonly moreToPrune: boolean;
}

/** Keeps the ledger from growing for ever. */
export interface Pruner {
  /**
   * Deletes what is older than it is kept, within its limits. Safe from many hosts at once. When the signal fires, no
   * other batch begins.
   */
  run(options?: { readonly signal?: AbortSignal }): Promise<PrunerReport>;
}

/**
 * Creates a pruner. The maintenance function calls it; a host without Inngest can call it by itself.
 *
 * @throws LedgerError `invalid_retention`, so that a wrong policy ends a host's start and not its night.
 */
export function createPruner(options: PrunerOptions): Pruner {
  const {
    ledger,
    budgetMs = 20_000,
    maxBatches = Number.POSITIVE_INFINITY,
    clock = systemClock,
    logger: given,
    ...request
  } = options;
  const logger = resolveLogger(given);
  resolveRetention(request.policy, request.latenessMs);
  if (!(budgetMs >= 0 && budgetMs <= 3_600_000)) {
    throw new LedgerError("invalid_retention", "budgetMs must be from 0 to 3,600,000.", {
      budgetMs,
    });
  }
  return {
    run: async ({ signal } = {}) => {
      const totals = new Map<string, number>();
      let pruned = 0;
      let moreToPrune = true;
      const endMs = clock.now() + budgetMs;
      for (let batch = 1; moreToPrune; batch += 1) {
        const startedAtMs = clock.now();
        const report = await ledger.prune(request);
        for (const { table, status, deleted } of report.rows) {
          const name = `${table}.${status}`;
          if (deleted > 0) totals.set(name, (totals.get(name) ?? 0) + deleted);
        }
        pruned += report.deleted;
        moreToPrune = report.more;
        const nowMs = clock.now();
        const pauseMs = nowMs - startedAtMs;
        if (batch >= maxBatches || nowMs + pauseMs >= endMs) break;
        if (moreToPrune) await rest(pauseMs, clock);
        if (signal?.aborted === true) break;
      }
      if (pruned > 0) {
        logger.info("ledger.pruned", { pruned, moreToPrune, rows: Object.fromEntries(totals) });
      }
      return { pruned, moreToPrune };
    },
  };
}

function rest(forMs: number, clock: Clock): Promise<void> {
  return new Promise((resolve) => {
    clock.setTimer(resolve, forMs);
  });
}
