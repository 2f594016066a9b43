import { silentLogger, type Logger } from "@evenkeel/events";
import { maintenanceRequestedEvent } from "@evenkeel/events/inngest";
import type { Ledger } from "@evenkeel/ledger";
import type { Inngest, InngestFunction } from "inngest";

import { skippedDuplicate, type SkippedDuplicate } from "./run-outcome.ts";

/** What the maintenance function works with. */
export interface MaintenanceFunctionOptions {
  readonly client: Inngest;
  readonly ledger: Pick<Ledger, "guards" | "runs">;
  /**
   * How long a run may be silent before it counts as stale, 20 minutes by default: longer than the pauses
   * that Inngest makes between the attempts of a step.
   */
  readonly staleAfterMs?: number;
  readonly logger?: Logger;
}

/** What a maintenance run returns. */
export type MaintenanceOutcome =
  | SkippedDuplicate
  | { readonly outcome: "maintained"; readonly staleRuns: number };

/** The id of {@link createMaintenanceFunction}'s function within its app. */
const maintenanceFunctionId = "background-maintenance";

/** Most runs marked stale in one statement. */
const staleBatch = 500;

/** Creates the function that keeps the ledger in order, once per dispatched window. */
export function createMaintenanceFunction(
  options: MaintenanceFunctionOptions,
): InngestFunction.Any {
  const { client, ledger, staleAfterMs = 20 * 60_000 } = options;
  const logger = options.logger ?? silentLogger;
  const functionId = `${client.id}-${maintenanceFunctionId}`;
  return client.createFunction(
    {
      id: maintenanceFunctionId,
      name: "Background maintenance",
      triggers: [maintenanceRequestedEvent],
      idempotency: "event.id",
      concurrency: [{ limit: 1 }],
      retries: 2,
      timeouts: { start: "1h", finish: "10m" },
    },
    async ({ event, step, runId }): Promise<MaintenanceOutcome> => {
      const { dispatchKey } = event.data;
      const guard = await step.run("take-guard", () =>
        ledger.guards.take({ functionId, dispatchKey, continuation: 0, runId }),
      );
      if (guard.outcome === "held") return skippedDuplicate(guard.runId);

      const staleRuns = await step.run("mark-stale-runs", async () => {
        const marked = await ledger.runs.markStale({ silentMs: staleAfterMs, limit: staleBatch });
        for (const run of marked) logger.warn("runs.stale", { ...run });
        return marked.length;
      });
      return { outcome: "maintained", staleRuns };
    },
  );
}
