import { computeWindow, isNudge } from "../schedule/dispatch-window.ts";
import type { DispatchRecord } from "./dispatch-record.ts";
import {
  prepareMaintenance,
  type DispatchContext,
  type OutgoingEvent,
  type PreparedDispatch,
} from "./prepared-dispatch.ts";

/** How long no maintenance has begun when a nudge brings it, in seconds. */
const overdueSeconds = 300;

/**
 * Returns what a nudge brings along: the maintenance event where none has begun for five minutes, as cron may be down.
 * A window of a schedule has a maintenance event of its own.
 */
export async function bringMaintenance(
  dispatch: PreparedDispatch,
  record: Pick<DispatchRecord, "isMaintenanceOverdue">,
  context: Pick<DispatchContext, "lane" | "environment" | "requestedAt">,
): Promise<OutgoingEvent[]> {
  if (!isNudge(dispatch.window)) return [];
  if (!(await record.isMaintenanceOverdue(overdueSeconds * 1_000))) return [];
  // Its window is of five minutes: until a run of it is on record, the same id is sent again, and dropped.
  const window = computeWindow(context.requestedAt, overdueSeconds);
  return [prepareMaintenance(dispatch, { ...context, window })];
}
