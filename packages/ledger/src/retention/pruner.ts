import { silentLogger, type Logger } from "@evenkeel/core";

import type { Prunable, PruneRequest } from "./pruning.ts";
import { resolveRetention } from "./resolved-retention.ts";

/** What a pruner works with. */
export interface PrunerOptions extends Omit<PruneRequest, "dryRun"> {
  readonly ledger: Prunable;
  /** Most batches in one run. Defaults to 20: with batches of 1,000, 20,000 rows per table and status. */
  readonly maxBatches?: number;
  readonly logger?: Logger;
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
  /** Deletes what is older than it is kept, within its limits. Safe from many hosts at once. */
  run(): Promise<PrunerReport>;
}

/**
 * Creates a pruner. The maintenance function calls it; a host without Inngest can call it by itself.
 *
 * @throws LedgerError `invalid_retention`, so that a wrong policy ends a host's start and not its night.
 */
export function createPruner(options: PrunerOptions): Pruner {
  const { ledger, maxBatches = 20, logger = silentLogger, ...request } = options;
  resolveRetention(request.policy, request.latenessMs);
  return {
    run: async () => {
      const totals = new Map<string, number>();
      let pruned = 0;
      let moreToPrune = true;
      for (let batch = 0; batch < maxBatches && moreToPrune; batch += 1) {
        const report = await ledger.prune(request);
        for (const { table, status, deleted } of report.rows) {
          const name = `${table}.${status}`;
          if (deleted > 0) totals.set(name, (totals.get(name) ?? 0) + deleted);
        }
        pruned += report.deleted;
        moreToPrune = report.more;
      }
      if (pruned > 0) {
        logger.info("ledger.pruned", { pruned, moreToPrune, rows: Object.fromEntries(totals) });
      }
      return { pruned, moreToPrune };
    },
  };
}
