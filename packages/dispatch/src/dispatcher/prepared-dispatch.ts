import { defined, type JsonValue, type Lane } from "@evenkeel/core";
import {
  checkEvent,
  type EventContract,
  maintenanceRequested,
  processRequested,
  type CheckedEvent,
  type ScheduledEventData,
} from "@evenkeel/events";
import type { WindowRepair } from "@evenkeel/ledger";
import type { z } from "zod";

import { formatDispatchKey, formatEventId } from "../schedule/dispatch-key.ts";
import { isNudge, type DispatchWindow } from "../schedule/dispatch-window.ts";

/** An event as it is given to the sender: the id is deterministic, so sending it again is harmless. */
export type OutgoingEvent = CheckedEvent<ScheduledEventData>;

/** A request for one dispatch: by a tick, an operator or a nudge. */
export interface DispatchRequest {
  /** The schedule's id. */
  readonly schedule: string;
  /** When the scheduler meant the tick to be; defaults to the clock's time. It decides the window. */
  readonly scheduledAt?: Date;
  /** Dispatches for this tenant alone; absent: for the schedule's global scope. */
  readonly tenantId?: string;
  /** Parameters, which are part of the dispatch key: other values are another dispatch. */
  readonly params?: Readonly<Record<string, JsonValue>>;
  /** Who asks: `cron`, `manual`, or a product's own word. */
  readonly source: string;
  /** Follows this tick through logs and records; defaults to a new UUID. */
  readonly correlationId?: string;
  /**
   * Sends what is due and nothing else: nothing at all where no job is due and no upkeep, and upkeep on its own cadence.
   * The cron route asks for it. Defaults to `false`: work and upkeep are sent, as when an operator asks.
   */
  readonly onlyIfDue?: boolean;
}

/** One dispatch that is ready to be claimed and sent. */
export interface PreparedDispatch {
  readonly request: DispatchRequest;
  readonly window: DispatchWindow;
  readonly dispatchKey: string;
  readonly correlationId: string;
  /** Checked against their contracts: a sender need not check them again. */
  readonly events: readonly OutgoingEvent[];
}

/** An event to be sent, before the fields that every one of a dispatch has. */
interface PlannedEvent {
  readonly contract: EventContract<string, z.ZodType<ScheduledEventData>>;
  readonly data: Readonly<Record<string, unknown>>;
}

/** What {@link prepare} takes beside the request. */
export interface DispatchContext {
  readonly window: DispatchWindow;
  readonly lane: Lane;
  /** Part of every event id: `production`, `staging`. */
  readonly environment: string;
  readonly requestedAt: Date;
  /** Used when the request has none. */
  readonly correlationId: string;
  /** What a schedule sends in place of the process event; absent: that. */
  readonly workEvent?: PlannedEvent;
  /** Ends every event id, so that Inngest takes the events for new ones; empty by default. */
  readonly idSuffix?: string;
}

/**
 * Returns the key, the correlation id and the events of a request in a window. A nudge's window has the
 * process event alone, any other the maintenance event too.
 *
 * @throws DispatchError `invalid_schedule` or `invalid_params`; InputError `invalid_tenant`,
 * `invalid_payload` or `payload_too_large`.
 */
export function prepare(request: DispatchRequest, context: DispatchContext): PreparedDispatch {
  const { window, workEvent = { contract: processRequested, data: {} } } = context;
  const { schedule, tenantId, params } = request;
  const dispatchKey = formatDispatchKey({ schedule, window, ...defined({ tenantId, params }) });
  const correlationId = request.correlationId ?? context.correlationId;
  const dispatch = { request, window, dispatchKey, correlationId };
  const work = toEvent(workEvent, dispatch, context);
  const events = isNudge(window) ? [work] : [work, toEvent(upkeep, dispatch, context)];
  return { ...dispatch, events };
}

/** Returns a maintenance event that goes with a nudge, for a window of its own in the schedule's global scope. */
export function prepareMaintenance(
  { request, correlationId }: PreparedDispatch,
  context: Omit<DispatchContext, "correlationId" | "idSuffix" | "workEvent">,
): OutgoingEvent {
  const { schedule, source } = request;
  const { window } = context;
  const dispatchKey = formatDispatchKey({ schedule, window });
  const dispatch = { request: { schedule, source }, window, dispatchKey, correlationId };
  return toEvent(upkeep, dispatch, context);
}

const upkeep: PlannedEvent = { contract: maintenanceRequested, data: {} };

function toEvent(
  { contract, data: more }: PlannedEvent,
  { request, window, dispatchKey, correlationId }: Omit<PreparedDispatch, "events">,
  context: Omit<DispatchContext, "correlationId">,
): OutgoingEvent {
  const { lane, environment, requestedAt, idSuffix = "" } = context;
  const { schedule, source, tenantId, params } = request;
  const { name, version: schemaVersion } = contract;
  const id = formatEventId({ name, schemaVersion, environment, dispatchKey });
  const data = {
    ...more,
    source,
    requestedAt: requestedAt.toISOString(),
    dispatchKey,
    correlationId,
    dispatchWindowStart: window.start.toISOString(),
    dispatchWindowSeconds: window.seconds,
    schemaVersion,
    lane,
    schedule,
    ...defined({ tenantId, params }),
  };
  return checkEvent<z.ZodType<ScheduledEventData>>(contract, { id: `${id}${idSuffix}`, data });
}

/**
 * Returns a claimed repair as a dispatch of its window, with the events that the window was to send. After a run that fell
 * silent, or where the window was sent before and is repaired for the second time, the ids are new: Inngest remembers the
 * first ones, and the guard makes sure that one run works.
 *
 * @throws As {@link prepare} does.
 */
export function prepareRepair(
  { reason, window }: WindowRepair,
  context: Pick<DispatchContext, "environment" | "requestedAt" | "workEvent">,
): PreparedDispatch {
  const { schedule, windowStart, windowSeconds, correlationId, lane, repairCount } = window;
  const sent = new Set(window.events);
  const wasRepaired = window.enqueuedAt !== null && repairCount > 1;
  // A product's own function may have no guard: Inngest's memory of the ids is what keeps it from a second run.
  const isOurs = context.workEvent === undefined;
  const needsNewIds = isOurs && (reason === "stale" || wasRepaired);
  const tenantId = window.tenantId ?? undefined;
  const params = window.params ?? undefined;
  const dispatch = prepare(
    { schedule, source: "reconciler", ...defined({ tenantId, params }) },
    {
      ...context,
      window: { start: windowStart, seconds: windowSeconds },
      lane,
      correlationId,
      idSuffix: needsNewIds ? `:r${repairCount}` : "",
    },
  );
  return { ...dispatch, events: dispatch.events.filter(({ name }) => sent.has(name)) };
}
