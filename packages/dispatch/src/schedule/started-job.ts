import { defined } from "@evenkeel/core";
import type { EnqueueInput } from "@evenkeel/jobs";
import type { StartedJob } from "@evenkeel/ledger";

import type { StartJob, StartWindow } from "./schedule-start.ts";

/** The states in which a job holds its window: to its end, and after it. */
const allStates = ["SCHEDULED", "PENDING", "RUNNING", "SUCCEEDED", "DEAD", "CANCELLED"] as const;

const dayMs = 86_400_000;

/**
 * Returns the unique key of a window's jobs: its dispatch key without the scope, which is the job's tenant.
 */
export function startKeyOf(dispatchKey: string): string {
  const [schedule, version, , ...rest] = dispatchKey.split("|");
  return [schedule, version, ...rest].join("|");
}

/** Returns the unique keys of all windows of a dispatch key's schedule, as a range; `}` follows `|`. */
export function keysOfSchedule(dispatchKey: string): {
  readonly from: string;
  readonly until: string;
} {
  const start = dispatchKey.split("|").slice(0, 2).join("|");
  return { from: `${start}|`, until: `${start}}` };
}

/** Returns by what the claim of a window knows the job that it starts. */
export function describeStarted(type: string, tenantId: string, dispatchKey: string): StartedJob {
  const { from: keysFrom, until: keysUntil } = keysOfSchedule(dispatchKey);
  return { type, tenantId, uniqueKey: startKeyOf(dispatchKey), keysFrom, keysUntil };
}

/** Returns the job of a window for a tenant, as it is enqueued: once per window and tenant, however often it is asked for. */
export function startedInput(
  start: StartJob,
  window: StartWindow,
  context: {
    readonly tenantId: string;
    readonly dispatchKey: string;
    readonly correlationId: string;
    readonly runAt?: Date;
  },
): EnqueueInput {
  const { tenantId, dispatchKey, correlationId, runAt } = context;
  const lengthMs = window.end.getTime() - window.start.getTime();
  return {
    tenantId,
    payload: start.payload(window),
    correlationId,
    ...defined({ runAt }),
    unique: {
      key: startKeyOf(dispatchKey),
      states: allStates,
      // Longer than a tick, a repair or a page can come late.
      periodMs: Math.min(366 * dayMs, Math.max(3 * dayMs, 2 * lengthMs)),
      onConflict: "keep",
    },
  };
}
