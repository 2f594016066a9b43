import { defined, resolveLogger, type Logger } from "@evenkeel/core";
import { formatEventId } from "@evenkeel/dispatch";
import { checkEvent, jobRequested } from "@evenkeel/events";
import { jobRequestedEvent } from "@evenkeel/events/inngest";
import type { RequestRuns, Runner } from "@evenkeel/jobs";
import type { Inngest, InngestFunction } from "inngest";

import { functionOptions, functionPolicies } from "./function-policy.ts";
import { boundDrain, checkpointingOf, limitsOf } from "./host-timeout.ts";
import { sendTimeoutMs, withSendSignal } from "./send-signal.ts";

/** What the isolated-job function works with. */
export interface IsolatedJobFunctionOptions {
  readonly client: Inngest;
  readonly runner: Pick<Runner, "runOne">;
  /** Isolated jobs of one tenant that run at a time; defaults to 1. */
  readonly isolatedPerTenant?: number;
  /** Isolated jobs that run at a time, of all tenants; defaults to 8. */
  readonly isolatedConcurrency?: number;
  /**
   * When the host ends a request, in milliseconds: a job that still runs 5 s before has timed out. Absent: the
   * host has no limit.
   */
  readonly hostTimeoutMs?: number;
  /** Where the end of each run is logged; defaults to the console. */
  readonly logger?: Logger;
}

/** What a run of an isolated job returns. `skipped`: the job was claimed since, has ended, or is paused. */
export interface IsolatedJobOutcome {
  readonly outcome: (typeof endings)[number] | "skipped";
  readonly jobId: string;
}

const endings = ["succeeded", "retried", "snoozed", "dead", "lost", "released"] as const;

/**
 * Creates the function that runs isolated jobs, one per run, at most `isolatedPerTenant` of a tenant and
 * `isolatedConcurrency` of all at a time. The fence in the event makes a repeated or late one void. The ledger keeps how an attempt ended, so a run whose job
 * failed has succeeded: the job's own policy says when it is delegated again.
 *
 * @throws JobError `invalid_options` when a limit is no whole number from 1.
 */
export function createIsolatedJobFunction(
  options: IsolatedJobFunctionOptions,
): InngestFunction.Any {
  const { client, runner, isolatedPerTenant, isolatedConcurrency, hostTimeoutMs } = options;
  const policy = functionPolicies(defined({ isolatedPerTenant, isolatedConcurrency })).isolatedJob;
  const logger = resolveLogger(options.logger);
  return client.createFunction(
    {
      ...functionOptions(policy),
      name: "Run an isolated job",
      triggers: [jobRequestedEvent],
      ...checkpointingOf(hostTimeoutMs),
    },
    async ({ event, step, runId }): Promise<IsolatedJobOutcome> => {
      const { jobId, fence } = event.data;
      return step.run("run-job", async () => {
        const report = await boundDrain(hostTimeoutMs, (limits) =>
          runner.runOne({ id: jobId, fence }, { ...limitsOf(hostTimeoutMs), ...limits }),
        );
        const outcome = endings.find((name) => report[name] > 0) ?? "skipped";
        logger.info("isolated_job.ended", { runId, jobId, outcome });
        return { outcome, jobId };
      });
    },
  );
}

/**
 * Creates the `requestRuns` of a drain, which delegates isolated jobs to runs of their own. An event's id names one
 * claim, so that a repeated send makes no second run.
 */
export function createRequestRuns(client: Pick<Inngest, "send">, environment: string): RequestRuns {
  return async (jobs) => {
    const { name, version: schemaVersion } = jobRequested;
    const events = jobs.map(({ id, fence, tenantId, type, lane, correlationId }) => {
      const dispatchKey = `job|${id}|${fence}`;
      const event = checkEvent(jobRequested, {
        id: formatEventId({ name, schemaVersion, environment, dispatchKey }),
        data: {
          jobId: id,
          fence,
          tenantId,
          type,
          lane,
          schemaVersion,
          ...defined({ correlationId: correlationId ?? undefined }),
        },
      });
      return { ...event, v: String(schemaVersion) };
    });
    await withSendSignal(AbortSignal.timeout(sendTimeoutMs), () => client.send(events));
  };
}
