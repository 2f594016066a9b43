import { defined } from "@evenkeel/core";
import { Cron } from "croner";
import { z } from "zod";

import { DispatchError } from "../dispatch-error.ts";
import { parseScheduleId, type DispatchTarget } from "./dispatch-key.ts";
import { computeWindow, type DispatchWindow } from "./dispatch-window.ts";
import {
  describeStart,
  findStartProblem,
  jobStartOf,
  type ScheduleStart,
} from "./schedule-start.ts";

/** Which missed windows are dispatched after all: none, the newest, or the newest few. */
export type CatchUp = "none" | "latest" | { readonly max: number };

/** Settings of {@link defineSchedule}. Either `every` or `cron`. */
export interface ScheduleOptions<Schema extends z.ZodType = z.ZodType> {
  /** 1 to 100 of `a-z 0-9 . _ -`; part of every dispatch key, so it is never renamed lightly. */
  readonly id: string;
  /** Length of a window in seconds, 15 to 86,400: windows start at multiples of it since 1970 in UTC. */
  readonly every?: number;
  /** A cron expression of five fields, by the wall clock of `timeZone`. A window lasts until the next match. */
  readonly cron?: string;
  /** An IANA name, only with `cron`; defaults to `UTC`. */
  readonly timeZone?: string;
  /**
   * What a window starts: `queue`, the default, drains what is due; a job, or an event of the product's own.
   */
  readonly start?: ScheduleStart<Schema>;
  /**
   * `tenant`: every tick names a tenant, whose windows are its own; or, with `start.tenants`, a tick names none, and its
   * window starts a job for each of them. Defaults to `global`.
   */
  readonly scope?: "global" | "tenant";
  /** Which windows that no tick asked for the watchdog dispatches; defaults to `none`: they are only recorded. */
  readonly catchUp?: CatchUp;
  /** `skip` leaves a window out while a run of an earlier one is under way; defaults to `allow`. */
  readonly overlap?: "allow" | "skip";
  /** Whether it starts out paused; defaults to `false`. Operators decide from then on; a deploy never unpauses. */
  readonly paused?: boolean;
  /** Names of the query parameters that a tick may carry; none by default. */
  readonly params?: readonly string[];
}

/** A schedule: what is dispatched, and how often. */
export interface Schedule {
  readonly id: string;
  readonly scope: "global" | "tenant";
  readonly catchUp: CatchUp;
  readonly overlap: "allow" | "skip";
  readonly paused: boolean;
  readonly params: readonly string[];
  /** What its windows start. */
  readonly start: ScheduleStart;
  /** Whose windows the watchdog looks for: `global` also where one window is fanned out to tenants. */
  readonly windowScope: "global" | "tenant";
  /** The settings, as the ledger mirrors them: what it starts by name. */
  readonly definition: Omit<ScheduleOptions, "start">;
  /** The window that holds an instant. */
  windowAt(at: Date): DispatchWindow;
  /** Windows that start after one instant and end by another, the oldest first; the newest `limit` of them. */
  windowsBetween(after: Date, until: Date, limit: number): DispatchWindow[];
}

/**
 * Defines a schedule: checks its settings, and reads its cron expression once.
 *
 * @throws DispatchError `invalid_schedule` that names what is wrong.
 *
 * @example
 * const digest = defineSchedule({ id: "digest", cron: "0 7 * * *", timeZone: "Europe/Berlin" });
 */
export function defineSchedule<Schema extends z.ZodType>(
  options: ScheduleOptions<Schema>,
): Schedule {
  const { start = "queue", ...settings } = options;
  const { every, cron, catchUp = "none", scope = "global" } = settings;
  const id = parseScheduleId(options.id);
  if ((every === undefined) === (cron === undefined)) {
    throw invalid(id, "takes either every or cron");
  }
  if (cron === undefined && options.timeZone !== undefined) {
    throw invalid(id, "takes a timeZone only with cron");
  }
  if (typeof catchUp === "object" && !(Number.isInteger(catchUp.max) && catchUp.max >= 1)) {
    throw invalid(id, "takes a whole number from 1 as catchUp.max");
  }
  const startProblem = findStartProblem(start, scope);
  if (startProblem !== undefined) throw invalid(id, startProblem);
  const mirrored = { ...settings, start: describeStart(start) };
  const definition = start === "queue" ? settings : mirrored;
  const fansOut = jobStartOf(start)?.tenants !== undefined;
  const times =
    every === undefined
      ? wallClockTimes(id, cron ?? "", options.timeZone ?? "UTC")
      : evenTimes(id, every);
  return {
    id,
    scope,
    start,
    windowScope: fansOut ? "global" : scope,
    catchUp,
    overlap: options.overlap ?? "allow",
    paused: options.paused ?? false,
    params: options.params ?? [],
    definition,
    windowAt: times.windowAt,
    windowsBetween: (after, until, limit) => {
      const windows: DispatchWindow[] = [];
      let window = times.windowAt(until);
      // From the newest backwards, so that a long gap costs no more than the limit.
      for (; windows.length < limit && window.start > after; window = before(window, times)) {
        if (window.start.getTime() + window.seconds * 1_000 <= until.getTime()) {
          windows.unshift(window);
        }
      }
      return windows;
    },
  };
}

/** What decides a schedule's windows, as a ledger keeps it. */
const timesSchema = z.object({
  every: z.number().optional(),
  cron: z.string().optional(),
  timeZone: z.string().optional(),
});

/**
 * Returns a schedule with the windows of an earlier definition of it; `undefined` where this build cannot read that.
 */
export function asDefinedBefore(schedule: Schedule, definition: unknown): Schedule | undefined {
  const times = timesSchema.safeParse(definition);
  if (!times.success) return undefined;
  const { every: _every, cron: _cron, timeZone: _timeZone, ...rest } = schedule.definition;
  try {
    return defineSchedule({ ...rest, start: schedule.start, ...defined(times.data) });
  } catch {
    return undefined;
  }
}

/**
 * Checks that a request fits its schedule: a tenant exactly where the scope is `tenant`, and no parameter
 * that the schedule does not list. A schedule without settings of its own takes anything.
 *
 * @throws DispatchError `invalid_scope` or `invalid_params`.
 */
export function checkScope(
  schedule: Schedule | undefined,
  { tenantId, params }: Pick<DispatchTarget, "tenantId" | "params">,
): void {
  if (schedule === undefined) return;
  const { id, scope, windowScope } = schedule;
  // What is fanned out may be started for one tenant alone.
  const isEither = windowScope !== scope;
  if (!isEither && (scope === "tenant") !== (tenantId !== undefined)) {
    const problem = scope === "tenant" ? "needs a tenant" : "takes no tenant";
    throw new DispatchError("invalid_scope", `Schedule ${id} ${problem}.`, { id, scope });
  }
  const unknown = Object.keys(params ?? {}).find((name) => !schedule.params.includes(name));
  if (unknown === undefined) return;
  throw new DispatchError("invalid_params", `Schedule ${id} takes no parameter of this name.`, {
    id,
  });
}

interface Times {
  readonly windowAt: (at: Date) => DispatchWindow;
}

function before(window: DispatchWindow, times: Times): DispatchWindow {
  return times.windowAt(new Date(window.start.getTime() - 1));
}

function evenTimes(id: string, every: number): Times {
  if (!Number.isInteger(every) || every < 15 || every > 86_400) {
    throw invalid(id, "takes 15 to 86,400 whole seconds as every");
  }
  return { windowAt: (at) => computeWindow(at, every) };
}

/**
 * Times by the wall clock of a zone. Hours and minutes that are named come once on each of their days: where clocks go
 * forward, one that does not exist at the first moment after the gap; where they go back, one that comes twice at its
 * first. Of `*` and steps, what does not exist is left out, and what comes twice matches twice.
 */
function wallClockTimes(id: string, pattern: string, timeZone: string): Times {
  let cron: Cron;
  let matches: boolean;
  try {
    const fixedTimeRule = "no-wildcard";
    cron = new Cron(pattern, { timezone: timeZone, paused: true, mode: "5-part", fixedTimeRule });
    matches = cron.nextRun() !== null;
  } catch (cause) {
    throw invalid(id, "has a cron expression or a timeZone that cannot be read", cause);
  }
  if (!matches) throw invalid(id, "has a cron expression that never matches");
  return {
    windowAt: (at) => {
      // The library looks strictly before its reference, at whole seconds.
      const reference = new Date((Math.floor(at.getTime() / 1_000) + 1) * 1_000);
      const [start] = cron.previousRuns(1, reference);
      const end = start === undefined ? null : cron.nextRun(start);
      if (start === undefined || end === null)
        throw invalid(id, "has a cron expression that never matches");
      return { start, seconds: Math.round((end.getTime() - start.getTime()) / 1_000) };
    },
  };
}

function invalid(id: string, problem: string, cause?: unknown): DispatchError {
  const options = defined({ cause });
  return new DispatchError("invalid_schedule", `Schedule ${id} ${problem}.`, { id }, options);
}
