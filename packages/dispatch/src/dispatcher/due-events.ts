import { maintenanceRequested } from "@evenkeel/events";
import type { TickOutlook, TickRequest } from "@evenkeel/ledger";

import type { Schedule } from "../schedule/schedule.ts";
import type { DispatchRecord } from "./dispatch-record.ts";
import type { DispatchRequest, PreparedDispatch } from "./prepared-dispatch.ts";

/**
 * Whether a tick of it may find nothing to do. It may where all that it asks for is to drain the queue: for one tenant,
 * with parameters, or where its windows start a job or an event, it asks for more.
 */
function mayBeIdle(request: DispatchRequest, schedule: Schedule | undefined): boolean {
  const { tenantId, params = {} } = request;
  const isPlain = tenantId === undefined && Object.keys(params).length === 0;
  if (schedule === undefined) return isPlain;
  return isPlain && schedule.scope === "global" && schedule.start === "queue";
}

/**
 * Returns a tick's dispatch with the events that are due: upkeep on its own cadence, and work where there is any. It
 * has one event at least. Without an outlook, as the ledger is unavailable, it has all.
 */
function withDueEvents(
  dispatch: PreparedDispatch,
  outlook: TickOutlook | undefined,
  isWorkOptional: boolean,
): PreparedDispatch {
  if (outlook === undefined) return dispatch;
  const { hasWork, isMaintenanceDue } = outlook;
  const isWorkDue = hasWork || !isWorkOptional || !isMaintenanceDue;
  const events = dispatch.events.filter(({ name }) =>
    name === maintenanceRequested.name ? isMaintenanceDue : isWorkDue,
  );
  return { ...dispatch, events };
}

/** Leaves out what is not due; a window of which nothing is left is on record as idle. */
export async function limitToDue(
  dispatch: PreparedDispatch,
  {
    record,
    schedule,
    ...judgement
  }: {
    readonly record: Pick<DispatchRecord, "look">;
    readonly schedule: Schedule | undefined;
  } & Pick<TickRequest, "neverStartedAfterMs" | "staleAfterMs">,
): Promise<PreparedDispatch | "idle"> {
  const isWorkOptional = mayBeIdle(dispatch.request, schedule);
  const outlook = await record.look(dispatch, {
    ...judgement,
    mayBeIdle: isWorkOptional,
    skipOnOverlap: schedule?.overlap === "skip",
  });
  return outlook?.isIdle === true ? "idle" : withDueEvents(dispatch, outlook, isWorkOptional);
}
