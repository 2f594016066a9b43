import { formatEventId } from "@evenkeel/dispatch";
import { silentLogger, type Logger } from "@evenkeel/core";
import { jobRequested, parseEvent } from "@evenkeel/events";
import { jobRequestedEvent } from "@evenkeel/events/inngest";
import type { RequestRuns, Runner } from "@evenkeel/jobs";
import type { Inngest, InngestFunction } from "inngest";

import { limitsOf } from "./process-function.ts";

/** What the isolated-job function works with. */
export interface IsolatedJobFunctionOptions {
  readonly client: Inngest;
  readonly runner: Pick<Runner, "runOne">;
  /** Isolated jobs of one tenant running at a time, 1 by default. */
  readonly isolatedPerTenant?: number;
  /** The host's limit for a request, in milliseconds: a job that still runs 5 s before it has timed out. */
  readonly hostTimeoutMs?: number;
  readonly logger?: Logger;
}

/** What a run of an isolated job returns. `skipped`: claimed by another since, ended, or paused. */
export interface IsolatedJobOutcome {
  readonly outcome: (typeof endings)[number] | "skipped";
  readonly jobId: string;
}

const endings = ["succeeded", "retried", "snoozed", "dead", "lost", "released"] as const;

/**
 * Creates the function that runs isolated jobs, one per run, by turns of their tenants. The fence in the event makes
 * a repeated or late one void. How an attempt ended is the ledger's to keep, so a run whose job failed has
 * succeeded: the job's own policy says when it is handed over again.
 */
export function createIsolatedJobFunction(
  options: IsolatedJobFunctionOptions,
): InngestFunction.Any {
  const { client, runner, isolatedPerTenant = 1, hostTimeoutMs } = options;
  const logger = options.logger ?? silentLogger;
  return client.createFunction(
    {
      id: "run-isolated-job",
      name: "Run an isolated job",
      triggers: [jobRequestedEvent],
      idempotency: "event.id",
      concurrency: [{ key: "event.data.tenantId", limit: isolatedPerTenant }],
      retries: 2,
    },
    async ({ event, step, runId }): Promise<IsolatedJobOutcome> => {
      const { jobId, fence } = event.data;
      return step.run("run-job", async () => {
        const report = await runner.runOne({ id: jobId, fence }, limitsOf(hostTimeoutMs));
        const outcome = endings.find((name) => report[name] > 0) ?? "skipped";
        logger.info("isolated_job.ended", { runId, jobId, outcome });
        return { outcome, jobId };
      });
    },
  );
}

/**
 * Creates the `isolate` that a drain hands isolated jobs over with. An id is of one claim, so that a repeated send
 * makes no second run.
 */
export function createRequestRuns(client: Pick<Inngest, "send">, environment: string): RequestRuns {
  return async (jobs) => {
    const { name, version: schemaVersion } = jobRequested;
    await client.send(
      jobs.map(({ id, fence, tenantId, type, lane, correlationId }) => {
        const dispatchKey = `job|${id}|${fence}`;
        return {
          id: formatEventId({ name, schemaVersion, environment, dispatchKey }),
          name,
          data: parseEvent(jobRequested, {
            jobId: id,
            fence,
            tenantId,
            type,
            lane,
            schemaVersion,
            ...(correlationId === null ? {} : { correlationId }),
          }),
          v: String(schemaVersion),
        };
      }),
    );
  };
}
