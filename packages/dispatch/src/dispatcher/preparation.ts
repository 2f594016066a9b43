import { randomUUID } from "node:crypto";

import { defined, type Lane } from "@evenkeel/core";
import type { WindowRepair } from "@evenkeel/ledger";

import {
  computeWindow,
  isNudge,
  nudgeWindowSeconds,
  type DispatchWindow,
} from "../schedule/dispatch-window.ts";
import { checkScope, type Schedule } from "../schedule/schedule.ts";
import {
  prepare,
  prepareRepair,
  type DispatchRequest,
  type PreparedDispatch,
} from "./prepared-dispatch.ts";
import { repairedEventOf, workEventOf } from "./window-start.ts";

/** What requests are prepared with. */
interface PreparationSettings {
  /** By id. */
  readonly schedules: ReadonlyMap<string, Schedule>;
  /** The length of windows of schedules that are not among them. */
  readonly windowSeconds: number;
  readonly lane: Lane;
  readonly environment: string;
  readonly clock: { now(): Date };
}

/**
 * Finds the window of each request and prepares its dispatch.
 *
 * @throws As `prepare` does, and DispatchError `invalid_scope` for a scope that is not the schedule's.
 */
interface Preparation {
  /** The window of a tick, or of an operator's request. */
  tick(request: DispatchRequest): PreparedDispatch;
  /** This very second. A nudge drains the queue, whatever the schedule's own windows start. */
  nudge(request: DispatchRequest): PreparedDispatch;
  repair(repair: WindowRepair): PreparedDispatch;
}

export function createPreparation(settings: PreparationSettings): Preparation {
  const { schedules, windowSeconds, lane, environment, clock } = settings;

  function prepareIn(request: DispatchRequest, window: DispatchWindow): PreparedDispatch {
    const schedule = schedules.get(request.schedule);
    const workEvent = isNudge(window) ? undefined : workEventOf(schedule, request, window);
    return prepare(request, {
      ...defined({ workEvent }),
      window,
      lane,
      environment,
      requestedAt: clock.now(),
      correlationId: randomUUID(),
    });
  }

  return {
    tick: (request) => {
      const at = request.scheduledAt ?? clock.now();
      const schedule = schedules.get(request.schedule);
      checkScope(schedule, request);
      return prepareIn(request, schedule?.windowAt(at) ?? computeWindow(at, windowSeconds));
    },
    nudge: (request) => {
      checkScope(schedules.get(request.schedule), request);
      return prepareIn(request, computeWindow(clock.now(), nudgeWindowSeconds));
    },
    repair: (repair) => {
      const workEvent = repairedEventOf(schedules.get(repair.window.schedule), repair.window);
      const requestedAt = clock.now();
      return prepareRepair(repair, { ...defined({ workEvent }), environment, requestedAt });
    },
  };
}
