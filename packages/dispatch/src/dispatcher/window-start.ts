import { defined } from "@evenkeel/core";
import type { EventContract, ScheduledEventData } from "@evenkeel/events";
import { enqueue, type AnyJobDefinition, type EnqueueInput } from "@evenkeel/jobs";
import type { StartedJob, TransactionClient, WindowRecord } from "@evenkeel/ledger";
import type { z } from "zod";

import { fanOutJob, fanOutTenant } from "../fan-out/fan-out-job.ts";
import type { DispatchWindow } from "../schedule/dispatch-window.ts";
import { eventStartOf, jobStartOf, type StartWindow } from "../schedule/schedule-start.ts";
import type { Schedule } from "../schedule/schedule.ts";
import { describeStarted, startedInput } from "../schedule/started-job.ts";
import type { DispatchRequest, PreparedDispatch } from "./prepared-dispatch.ts";

/** What the claim of a window enqueues with it. */
export interface StartedWork {
  readonly job: StartedJob;
  readonly enqueue: (tx: TransactionClient) => Promise<unknown>;
}

/** The event that is sent in place of the one that drains the queue. */
export interface WorkEvent {
  readonly contract: EventContract<string, z.ZodType<ScheduledEventData>>;
  /** Fields beside those of every event. */
  readonly data: Readonly<Record<string, unknown>>;
}

function toStartWindow(
  { schedule, tenantId, params }: Pick<DispatchRequest, "schedule" | "tenantId" | "params">,
  { start, seconds }: DispatchWindow,
): StartWindow {
  const end = new Date(start.getTime() + seconds * 1_000);
  return { schedule, start, end, ...defined({ tenantId, params }) };
}

/** Returns the product's event that a schedule's window sends; `undefined` where it sends ours. */
export function workEventOf(
  schedule: Schedule | undefined,
  request: Pick<DispatchRequest, "schedule" | "tenantId" | "params">,
  window: DispatchWindow,
): WorkEvent | undefined {
  const start = schedule && eventStartOf(schedule.start);
  if (start === undefined) return undefined;
  return { contract: start.event, data: start.data?.(toStartWindow(request, window)) ?? {} };
}

/** Returns the product's event that a window on record sent, for a repair. */
export function repairedEventOf(
  schedule: Schedule | undefined,
  window: WindowRecord,
): WorkEvent | undefined {
  const { windowStart: start, windowSeconds: seconds } = window;
  const tenantId = window.tenantId ?? undefined;
  const params = window.params ?? undefined;
  const request = { schedule: window.schedule, ...defined({ tenantId, params }) };
  return workEventOf(schedule, request, { start, seconds });
}

/** Returns why a window cannot be worked for without Inngest; `undefined` where it can, or need not. */
export function findInlineProblem(schedule: Schedule | undefined): string | undefined {
  if (schedule === undefined || eventStartOf(schedule.start) === undefined) return undefined;
  return `Schedule ${schedule.id} starts an event of the product's own, which no inline work can replace.`;
}

/**
 * Returns the job that a window starts: the product's own, or the one that fans the window out to the schedule's
 * tenants; `undefined` where it starts none.
 */
export function startedWorkOf(
  schedule: Schedule | undefined,
  { request, window, dispatchKey, correlationId }: PreparedDispatch,
): StartedWork | undefined {
  const start = schedule && jobStartOf(schedule.start);
  if (schedule === undefined || start === undefined) return undefined;
  const { tenantId, params } = request;
  const startWindow = toStartWindow(request, window);
  if (start.tenants !== undefined && tenantId === undefined) {
    const payload = {
      schedule: schedule.id,
      dispatchKey,
      windowStart: window.start.toISOString(),
      windowSeconds: window.seconds,
      ...defined({ params }),
    };
    const fanOut = { ...start, job: fanOutJob, payload: () => payload };
    return toWork(
      fanOutJob,
      startedInput(fanOut, startWindow, {
        tenantId: fanOutTenant,
        dispatchKey,
        correlationId,
      }),
    );
  }
  const owner = tenantId ?? start.tenantId ?? "global";
  const context = { tenantId: owner, dispatchKey, correlationId };
  return toWork(start.job, startedInput(start, startWindow, context));

  function toWork(job: AnyJobDefinition, input: EnqueueInput): StartedWork {
    return {
      job: describeStarted(job.type, input.tenantId, dispatchKey),
      enqueue: (tx) => enqueue(tx, job, input),
    };
  }
}
