import { silentLogger, type Logger } from "@evenkeel/core";
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

import { skippedDuplicate, type SkippedDuplicate } from "./run-outcome.ts";

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
  /** Where each run's report is logged; silent by default. */
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

/** The id of {@link createMaintenanceFunction}'s function within its app. */
export const maintenanceFunctionId = "background-maintenance";

/** How many maintenance runs work at a time. */
export const maintenanceConcurrency = 1;

/** Creates the function that keeps the ledger in order, once per dispatched window. */
export function createMaintenanceFunction(
  options: MaintenanceFunctionOptions,
): InngestFunction.Any {
  const { client, ledger, reconciler } = options;
  const logger = options.logger ?? silentLogger;
  const functionId = `${client.id}-${maintenanceFunctionId}`;
  return client.createFunction(
    {
      id: maintenanceFunctionId,
      name: "Background maintenance",
      triggers: [maintenanceRequestedEvent],
      idempotency: "event.id",
      concurrency: [{ limit: maintenanceConcurrency }],
      retries: 2,
      timeouts: { start: "1h", finish: "10m" },
    },
    async ({ event, step, runId }): Promise<MaintenanceOutcome> => {
      const { dispatchKey, lane } = event.data;
      const guard = await step.run("take-guard", async () => {
        // The event is the handshake: with this it has come back.
        await ledger.handshake.markBack({ lane, dispatchKey });
        return ledger.guards.take({ functionId, dispatchKey, continuation: 0, runId });
      });
      if (guard.outcome === "held") return skippedDuplicate(guard.runId);

      const report = await step.run("reconcile", () => reconciler.run());
      const { watchdog, relay, pruner } = options;
      const watched =
        watchdog === undefined ? {} : await step.run("watch-schedules", () => watchdog.run());
      const relayed =
        relay === undefined
          ? {}
          : { outbox: await step.run("relay-outbox", () => runBounded(relay)) };
      const pruned = pruner === undefined ? {} : await step.run("prune", () => pruner.run());
      const total = { ...report, ...watched, ...relayed, ...pruned };
      logger.info("maintenance.done", { runId, dispatchKey, ...total });
      return { outcome: "maintained", ...total };
    },
  );
}

/** How long a run relays, in milliseconds. The next run sends what is left. */
const relayBudgetMs = 20_000;

function runBounded(relay: Pick<OutboxRelay, "run">): Promise<RelayReport> {
  return relay.run({ signal: AbortSignal.timeout(relayBudgetMs) });
}
