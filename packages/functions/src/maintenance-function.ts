import { resolveLogger, type Logger } from "@evenkeel/core";
import type {
  OutboxRelay,
  Reconciler,
  ReconcileReport,
  RelayReport,
  Watchdog,
  WatchdogReport,
} from "@evenkeel/dispatch";
import { maintenanceRequestedEvent } from "@evenkeel/events/inngest";
import type { Ledger, Pruner, PrunerReport } from "@evenkeel/ledger";
import type { Inngest, InngestFunction } from "inngest";

import { functionOptions, functionPolicies } from "./function-policy.ts";
import { boundStep, checkpointingOf } from "./host-timeout.ts";
import { skippedDuplicate, type SkippedDuplicate } from "./runs/run-outcome.ts";

/** What the maintenance function works with. */
export interface MaintenanceFunctionOptions {
  readonly client: Inngest;
  readonly ledger: Pick<Ledger, "guards" | "handshake">;
  /** Repairs what the dispatch path left undone. */
  readonly reconciler: Reconciler;
  /** Finds windows that no tick asked for; absent: this function does not look for them. */
  readonly watchdog?: Watchdog;
  /** Sends what the outbox holds, where no host runs a relay on its own; absent: this function sends nothing. */
  readonly relay?: Pick<OutboxRelay, "run">;
  /** Deletes what is older than it is kept; absent: nothing is deleted. */
  readonly pruner?: Pruner;
  /**
   * When the host ends a request, in milliseconds: every step is over 5 s before, and what is left is for the next run.
   * Absent: a step takes 55 s at most.
   */
  readonly hostTimeoutMs?: number;
  /** Where each run's report is logged; defaults to the console. */
  readonly logger?: Logger;
}

/** What a maintenance run returns. */
export type MaintenanceOutcome =
  | SkippedDuplicate
  | ({
      readonly outcome: "maintained";
      readonly outbox?: RelayReport;
    } & ReconcileReport &
      Partial<WatchdogReport & PrunerReport>);

/** Creates the function that keeps the ledger in order, once per dispatched window. */
export function createMaintenanceFunction(
  options: MaintenanceFunctionOptions,
): InngestFunction.Any {
  const { client, ledger, reconciler, hostTimeoutMs } = options;
  const logger = resolveLogger(options.logger);
  const policy = functionPolicies().maintenance;
  const functionId = `${client.id}-${policy.id}`;
  return client.createFunction(
    {
      ...functionOptions(policy),
      name: "Background maintenance",
      triggers: [maintenanceRequestedEvent],
      ...checkpointingOf(hostTimeoutMs),
    },
    async ({ event, step, runId }): Promise<MaintenanceOutcome> => {
      const { dispatchKey, lane } = event.data;
      const guard = await step.run("take-guard", () =>
        boundStep(hostTimeoutMs, async () => {
          // The event is the handshake: with this it has come back.
          await ledger.handshake.markBack({ lane, dispatchKey });
          return ledger.guards.take({ functionId, dispatchKey, continuation: 0, runId });
        }),
      );
      if (guard.outcome === "held") return skippedDuplicate(guard.runId);

      const report = await step.run("reconcile", () =>
        boundStep(hostTimeoutMs, (signal) => reconciler.run({ signal })),
      );
      const { watchdog, relay, pruner } = options;
      const watched =
        watchdog === undefined
          ? {}
          : await step.run("watch-schedules", () =>
              boundStep(hostTimeoutMs, (signal) => watchdog.run({ signal })),
            );
      const relayed =
        relay === undefined
          ? {}
          : {
              outbox: await step.run("relay-outbox", () =>
                boundStep(hostTimeoutMs, (deadline) => {
                  const signal = AbortSignal.any([AbortSignal.timeout(relayBudgetMs), deadline]);
                  return relay.run({ signal, deadline });
                }),
              ),
            };
      const pruned =
        pruner === undefined
          ? {}
          : await step.run("prune", () =>
              boundStep(hostTimeoutMs, (signal) => pruner.run({ signal })),
            );
      const total = { ...report, ...watched, ...relayed, ...pruned };
      logger.info("maintenance.done", { runId, dispatchKey, ...total });
      return { outcome: "maintained", ...total };
    },
  );
}

/** How long a run relays, in milliseconds. The next run sends what is left. */
const relayBudgetMs = 20_000;
