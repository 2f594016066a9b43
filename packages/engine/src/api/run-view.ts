import type { StoredEvent } from "../event/event.ts";
import { accountId, environmentId } from "../identity.ts";
import type { Run } from "../run/run.ts";

/** A run as `/v1/runs/:id` and `/v1/events/:id/runs` show it. */
export function viewRun(run: Run): Record<string, unknown> {
  return {
    run_id: run.id,
    run_started_at: new Date(run.startedAtMs ?? run.queuedAtMs).toISOString(),
    function_id: run.fn.id,
    function_version: 1,
    environment_id: environmentId,
    event_id: run.events[0]?.internalId ?? "",
    ...(run.batchId === undefined ? {} : { batch_id: run.batchId }),
    ...(run.cron === undefined ? {} : { cron: run.cron }),
    status: run.status,
    ended_at: run.endedAtMs === undefined ? null : new Date(run.endedAtMs).toISOString(),
    ...(run.output === undefined
      ? run.endedAtMs === undefined
        ? {}
        : { output: {} }
      : { output: run.output }),
  };
}

/** An event as `/v1/events/:id` shows it. */
export function viewEvent(stored: StoredEvent): Record<string, unknown> {
  const { event } = stored;
  return {
    internal_id: stored.internalId,
    account_id: accountId,
    environment_id: environmentId,
    source: "",
    source_id: null,
    received_at: new Date(stored.receivedAtMs).toISOString(),
    id: event.id,
    name: event.name,
    data: event.data,
    ...(Object.keys(event.user).length === 0 ? {} : { user: event.user }),
    ts: event.ts,
    ...(event.v === undefined ? {} : { v: event.v }),
  };
}
