import { defined, type Logger } from "@evenkeel/core";
import type { OutboxRelay, Reconciler, Watchdog } from "@evenkeel/dispatch";
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
  readonly ledger: Pick<
    Ledger,
    "guards" | "windows" | "runs" | "deadLetters" | "handshake" | "asOperator"
  >;
  readonly runner: Pick<Runner, "drain" | "runOne">;
  /** The dispatcher's own: part of the ids of events that delegate isolated jobs to runs. */
  readonly environment: string;
  /** Isolated jobs of one tenant that run at a time; defaults to 1. */
  readonly isolatedPerTenant?: number;
  /** Isolated jobs of all tenants that run at a time; defaults to 8. */
  readonly isolatedConcurrency?: number;
  /** Made by `createReconciler` of `@evenkeel/dispatch`. */
  readonly reconciler: Reconciler;
  /** Made by `createWatchdog` of `@evenkeel/dispatch`, for a host that knows its schedules. */
  readonly watchdog?: Watchdog;
  /** Made by `createOutboxRelay` of `@evenkeel/dispatch`: maintenance runs it once per window. Absent: it does not. */
  readonly relay?: Pick<OutboxRelay, "run">;
  /** Made by `createPruner` of `@evenkeel/ledger`; absent: the ledger keeps everything. */
  readonly pruner?: Pruner;
  readonly config: {
    /** Concurrent process runs: `BACKGROUND_JOBS_INNGEST_CONCURRENCY`. */
    readonly concurrency: number;
  };
  /** Where runs are logged; defaults to the console. */
  readonly logger?: Logger;
}

/**
 * Creates the functions that a host serves beside its own.
 *
 * @example
 * const functions = createBackgroundFunctions({ client, ledger, runner, reconciler, environment, config });
 * export const { GET, POST, PUT } = serve({ client, functions: [...functions, ...own] });
 */
export function createBackgroundFunctions(
  options: BackgroundFunctionsOptions,
): InngestFunction.Any[] {
  const { config, environment, isolatedPerTenant, isolatedConcurrency, ...shared } = options;
  const isolated = defined({ isolatedPerTenant, isolatedConcurrency });
  const requestRuns = createRequestRuns(shared.client, environment);
  return [
    createProcessFunction({ ...shared, requestRuns, concurrency: config.concurrency }),
    createIsolatedJobFunction({ ...shared, ...isolated }),
    createMaintenanceFunction(shared),
    createDeadLetterFunction(shared),
  ];
}
