import type { OutboxRelay, Reconciler, Watchdog } from "@evenkeel/dispatch";
import type { Logger } from "@evenkeel/core";
import type { Runner } from "@evenkeel/jobs";
import type { Ledger, Pruner } from "@evenkeel/ledger";
import type { Inngest, InngestFunction } from "inngest";

import { createDeadLetterFunction } from "./dead-letter-function.ts";
import { createRequestRuns, createIsolatedJobFunction } from "./isolated-job-function.ts";
import { createMaintenanceFunction } from "./maintenance-function.ts";
import { createProcessFunction, type ProcessFunctionOptions } from "./process-function.ts";

/** What {@link createBackgroundFunctions} works with. */
export interface BackgroundFunctionsOptions extends Pick<
  ProcessFunctionOptions,
  "stepBudgetMs" | "hostTimeoutMs" | "idleTimeoutMs" | "runBudgetMs" | "maxContinuations"
> {
  /** Made by `createBackgroundClient`. */
  readonly client: Inngest;
  readonly ledger: Pick<Ledger, "guards" | "windows" | "runs" | "deadLetters" | "asOperator">;
  readonly runner: Pick<Runner, "drain" | "runOne">;
  /** The dispatcher's own: part of the ids of events that hand isolated jobs over. */
  readonly environment: string;
  /** Isolated jobs of one tenant running at a time, 1 by default. */
  readonly isolatedPerTenant?: number;
  /** Made by `createReconciler` of `@evenkeel/dispatch`. */
  readonly reconciler: Reconciler;
  /** Made by `createWatchdog` of `@evenkeel/dispatch`, for a host that knows its schedules. */
  readonly watchdog?: Watchdog;
  /** Made by `createOutboxRelay` of `@evenkeel/dispatch`: maintenance runs it once per window. */
  readonly relay?: Pick<OutboxRelay, "run">;
  /** Made by `createPruner` of `@evenkeel/ledger`; absent: the ledger keeps everything. */
  readonly pruner?: Pruner;
  readonly config: {
    /** Concurrent process runs: `BACKGROUND_JOBS_INNGEST_CONCURRENCY`. */
    readonly concurrency: number;
  };
  readonly logger?: Logger;
}

/**
 * Creates the functions that a host serves beside its own.
 *
 * @example
 * serve({ client, functions: [...createBackgroundFunctions({ client, ledger, runner, reconciler, config }), ...own] });
 */
export function createBackgroundFunctions(
  options: BackgroundFunctionsOptions,
): InngestFunction.Any[] {
  const { config, environment, isolatedPerTenant, ...shared } = options;
  const requestRuns = createRequestRuns(shared.client, environment);
  return [
    createProcessFunction({ ...shared, requestRuns, concurrency: config.concurrency }),
    createIsolatedJobFunction({
      ...shared,
      ...(isolatedPerTenant === undefined ? {} : { isolatedPerTenant }),
    }),
    createMaintenanceFunction(shared),
    createDeadLetterFunction(shared),
  ];
}
