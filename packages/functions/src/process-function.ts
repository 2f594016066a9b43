import { defined, resolveLogger, type Logger } from "@evenkeel/core";
import { scopeOf } from "@evenkeel/dispatch";
import type { ScheduledEventData } from "@evenkeel/events";
import { processRequestedEvent } from "@evenkeel/events/inngest";
import {
  addDrainCounts,
  emptyDrainCounts,
  JobError,
  type DrainCounts,
  type RequestRuns,
  type Runner,
} from "@evenkeel/jobs";
import type { GuardOutcome, Ledger } from "@evenkeel/ledger";
import type { Inngest, InngestFunction } from "inngest";

import { functionOptions, functionPolicies } from "./function-policy.ts";
import { boundDrain, boundStep, checkpointingOf, limitsOf, stepReserveMs } from "./host-timeout.ts";
import { skippedDuplicate, type SkippedDuplicate } from "./runs/run-outcome.ts";
import { sendTimeoutMs, withSendSignal } from "./send-signal.ts";

/** What the process function works with. */
export interface ProcessFunctionOptions {
  readonly client: Inngest;
  readonly ledger: Pick<Ledger, "guards" | "windows">;
  readonly runner: Pick<Runner, "drain">;
  /** Delegates isolated jobs to runs of their own; absent: a drain runs them itself. */
  readonly requestRuns?: RequestRuns;
  /** Concurrent process runs, at least 1. */
  readonly concurrency: number;
  /** How long one step drains, in milliseconds; defaults to 20,000. With `hostTimeoutMs` at most that less 5 s. */
  readonly stepBudgetMs?: number;
  /**
   * When the host ends a request, in milliseconds: every step is over 5 s before, and a job that still runs then has
   * timed out. A job that may take longer than the limit leaves beside `stepBudgetMs` starts only with a step's first
   * claim. Absent: the host has no limit, as with Inngest Connect.
   */
  readonly hostTimeoutMs?: number;
  /**
   * How long one drain at a time waits for new jobs after the last one, in milliseconds; defaults to 2,000. What is
   * enqueued meanwhile starts at once. It ends with its step. 0: every run ends when nothing is due.
   */
  readonly idleTimeoutMs?: number;
  /** How long one run drains in all before its continuation does, in milliseconds; defaults to 60,000. */
  readonly runBudgetMs?: number;
  /** Continuations of one window; defaults to 50. What is left after the last waits for the next window. */
  readonly maxContinuations?: number;
  /** Where each step's report is logged; defaults to the console. */
  readonly logger?: Logger;
}

/** What a process run returns, and the ledger keeps as its output. */
export type ProcessOutcome =
  | SkippedDuplicate
  | ({
      /**
       * `drained`: nothing due was left. `continued`: another run continues. `bounded`: due work was left
       * and the window's last continuation is spent.
       */
      readonly outcome: "drained" | "continued" | "bounded";
      readonly steps: number;
    } & Readonly<DrainCounts>);

/** Most steps of one run: a drain that keeps ending early must not fill a run with steps. */
const maxSteps = 30;

/**
 * Creates the function that drains the queue for a dispatched window. Its first step takes the guard: a
 * second run of the same window ends as `skipped_duplicate`, however long ago the first one was. It drains
 * in steps, and while due work is left, or when its host stops, sends itself the next continuation under a
 * deterministic id.
 *
 * @throws JobError `invalid_options` when a number is out of range.
 */
export function createProcessFunction(options: ProcessFunctionOptions): InngestFunction.Any {
  const { client, ledger, runner, stepBudgetMs = 20_000, runBudgetMs = 60_000 } = options;
  const idleTimeoutMs = options.idleTimeoutMs ?? 2_000;
  const maxContinuations = options.maxContinuations ?? 50;
  const logger = resolveLogger(options.logger);
  const { hostTimeoutMs } = options;
  checkNumber("concurrency", options.concurrency, 1);
  checkNumber("stepBudgetMs", stepBudgetMs, 1);
  checkNumber("runBudgetMs", runBudgetMs, 0);
  checkNumber("idleTimeoutMs", idleTimeoutMs, 0);
  checkNumber("maxContinuations", maxContinuations, 0);
  if (hostTimeoutMs !== undefined) {
    checkNumber("hostTimeoutMs", hostTimeoutMs, stepBudgetMs + stepReserveMs);
  }
  const drainOptions = {
    budgetMs: stepBudgetMs,
    idleTimeoutMs,
    // A run that waits beside another takes one of the function's places.
    standby: false,
    ...defined({ requestRuns: options.requestRuns }),
  };
  const policy = functionPolicies({ concurrency: options.concurrency }).process;
  const functionId = `${client.id}-${policy.id}`;
  return client.createFunction(
    {
      ...functionOptions(policy),
      name: "Process background jobs",
      triggers: [processRequestedEvent],
      ...checkpointingOf(hostTimeoutMs),
    },
    async ({ event, step, runId }): Promise<ProcessOutcome> => {
      const { dispatchKey, continuation = 0 } = event.data;
      const takeGuard = (): Promise<GuardOutcome> =>
        ledger.guards.take({ functionId, dispatchKey, continuation, runId });
      const guard = await step.run("take-guard", () =>
        boundStep(hostTimeoutMs, async () => {
          const taken = await takeGuard();
          if (taken.outcome === "taken") await fillRecord(ledger, event.data, policy.id);
          return taken;
        }),
      );
      if (guard.outcome === "held") return skippedDuplicate(guard.runId);

      let total = emptyDrainCounts();
      let spentMs = 0;
      for (let steps = 1; ; steps += 1) {
        const drained = await step.run(`drain-${steps}`, async () => {
          // A run that was silent too long has been replaced: what it would still do is left to the other.
          const held = await boundStep(hostTimeoutMs, takeGuard);
          if (held.outcome === "held") return { replacedBy: held.runId };
          const startedAtMs = performance.now();
          const report = await boundDrain(hostTimeoutMs, (limits) =>
            runner.drain({ ...drainOptions, ...limitsOf(hostTimeoutMs), ...limits }),
          );
          const durationMs = Math.round(performance.now() - startedAtMs);
          logger.info("process.drained", {
            runId,
            dispatchKey,
            continuation,
            steps,
            durationMs,
            ...report,
          });
          return { ...report, durationMs };
        });
        if ("replacedBy" in drained) return skippedDuplicate(drained.replacedBy);
        total = addDrainCounts(total, drained);
        spentMs += drained.durationMs;
        if (!drained.remaining && !drained.throttled)
          return { outcome: "drained", steps, ...total };
        if (spentMs < runBudgetMs && steps < maxSteps && !drained.stopped) continue;
        if (continuation >= maxContinuations) {
          logger.warn("process.bounded", { runId, dispatchKey, continuation });
          return { outcome: "bounded", steps, ...total };
        }
        const next = continuation + 1;
        const continued = {
          id: `${windowEventId(event.id ?? runId)}:c${next}`,
          name: event.name,
          data: { ...event.data, source: "continuation", continuation: next },
        };
        await step.run("continue", () =>
          boundStep(hostTimeoutMs, (signal) => {
            const either = AbortSignal.any([AbortSignal.timeout(sendTimeoutMs), signal]);
            return withSendSignal(either, () => client.send(continued));
          }),
        );
        return { outcome: "continued", steps, ...total };
      }
    },
  );
}

function checkNumber(field: string, value: number, min: number): void {
  if (Number.isFinite(value) && value >= min) return;
  throw new JobError("invalid_options", `${field} must be a number from ${min}; got ${value}.`, {
    field,
    value,
  });
}

/** Records a window that was sent while the ledger was unavailable, as found by the function `owner`. */
export async function fillRecord(
  ledger: Pick<Ledger, "windows">,
  data: ScheduledEventData,
  owner: string,
): Promise<void> {
  const { dispatchKey, schedule, tenantId, lane, correlationId, params } = data;
  await ledger.windows.recordStarted({
    dispatchKey,
    schedule,
    scope: scopeOf(tenantId),
    windowStart: new Date(data.dispatchWindowStart),
    windowSeconds: data.dispatchWindowSeconds,
    lane,
    owner,
    correlationId,
    ...defined({ tenantId, params }),
  });
}

/** The id of the event that the tick sent, without a continuation's number. */
function windowEventId(eventId: string): string {
  return eventId.replace(/:c\d+$/u, "");
}
