import { defined, resolveLogger, type Lane, type Logger } from "@evenkeel/core";
import type { Ledger, MissedWindow, ScheduleProgress } from "@evenkeel/ledger";

import { describeFailure } from "../dispatcher/dispatch-record.ts";
import type { Dispatcher } from "../dispatcher/dispatcher.ts";
import { formatDispatchKey, scopeOf } from "../schedule/dispatch-key.ts";
import type { DispatchWindow } from "../schedule/dispatch-window.ts";
import { asDefinedBefore, type CatchUp, type Schedule } from "../schedule/schedule.ts";

/** What a watchdog works with. */
export interface WatchdogOptions {
  /** The schedules that are watched; others are left alone. */
  readonly schedules: readonly Schedule[];
  readonly ledger: Pick<Ledger, "schedules" | "windows">;
  /** Knows the same schedules. */
  readonly dispatcher: Pick<Dispatcher, "catchUp" | "whyHeld">;
  /** Names this host in the ledger. */
  readonly owner: string;
  /** The cohort of missed windows; defaults to `stable`. The dispatcher's own. */
  readonly lane?: Lane;
  /** Judges which windows are over; defaults to the system's clock. */
  readonly clock?: { now(): Date };
  /** How long after its end a window may still get its tick, in milliseconds; defaults to 60,000. */
  readonly graceMs?: number;
  /** Where missed windows are logged; defaults to the console. */
  readonly logger?: Logger;
}

/** What one look at the schedules did. */
export interface WatchdogReport {
  /** Missed windows that were dispatched after all. */
  readonly caughtUp: number;
  /** Missed windows that are on record as missed. */
  readonly missed: number;
  /** Missed windows that wait to be caught up with: a rollback is on, or Inngest is off. The next look finds them. */
  readonly waiting: number;
  /** Scopes of schedules whose look failed, which is logged, or that the signal left to the next look. */
  readonly unwatched: number;
}

/** Finds windows that no tick asked for: a cron service that was down, a host that was never deployed. */
export interface Watchdog {
  /** Mirrors the schedules into the ledger. A host calls it once when it starts. */
  declare(): Promise<void>;
  /**
   * Looks once. Safe from many hosts at once: a window is dispatched or recorded once. A schedule whose look fails
   * keeps no other from its own. When the signal fires, the send under way ends, and what is left is found by the next
   * look. It never works inline, and under a rollback it sends nothing.
   */
  run(options?: { readonly signal?: AbortSignal }): Promise<WatchdogReport>;
}

/** Most windows of one scope that one look handles. */
const maxWindows = 500;

/** Creates a watchdog over schedules. Nothing runs before {@link Watchdog.run} is called. */
export function createWatchdog(options: WatchdogOptions): Watchdog {
  const { ledger, dispatcher, owner, lane = "stable", graceMs = 60_000 } = options;
  const clock = options.clock ?? { now: () => new Date() };
  const logger = resolveLogger(options.logger);
  const schedules = new Map(options.schedules.map((schedule) => [schedule.id, schedule]));

  function toMissed(
    schedule: Schedule,
    window: DispatchWindow,
    tenantId: string | null,
  ): MissedWindow {
    const tenant = defined({ tenantId: tenantId ?? undefined });
    return {
      dispatchKey: formatDispatchKey({ schedule: schedule.id, window, ...tenant }),
      schedule: schedule.id,
      scope: scopeOf(tenantId ?? undefined),
      windowStart: window.start,
      windowSeconds: window.seconds,
      lane,
      owner,
      ...tenant,
    };
  }

  async function look(
    schedule: Schedule,
    progress: ScheduleProgress,
    total: WatchdogTotal,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { tenantId, newest, definedAt } = progress;
    const until = new Date(clock.now().getTime() - graceMs);
    const candidates = windowsOf(schedule, progress, until)
      .filter((window) => !hasFired(window, progress))
      .map((window) => toMissed(schedule, window, tenantId));
    if (candidates.length === 0) return;
    const gaps = new Set(
      await ledger.windows.unrecorded(candidates.map(({ dispatchKey }) => dispatchKey)),
    );
    if (gaps.size === 0) return;
    const windows = candidates.filter(({ dispatchKey }) => gaps.has(dispatchKey));
    // A dispatch takes the window that the present definition gives it.
    const ofPresent = windows.filter(
      ({ windowStart }) => definedAt === null || windowStart > definedAt,
    );
    const repaired = chooseToCatchUp(schedule.catchUp, ofPresent, newest);
    const missed = await ledger.windows.recordMissed(
      windows.filter((window) => !repaired.includes(window)),
    );
    total.missed += missed;
    const reason = dispatcher.whyHeld();
    if (reason !== undefined) {
      total.waiting += repaired.length;
      const held = repaired.length;
      logger.warn("watchdog.held", { schedule: schedule.id, tenantId, missed, held, reason });
      return;
    }
    let caughtUp = 0;
    for (const { windowStart } of repaired) {
      if (signal?.aborted === true) break;
      const { mode } = await dispatcher.catchUp(
        {
          schedule: schedule.id,
          scheduledAt: windowStart,
          source: "watchdog",
          ...defined({ tenantId: tenantId ?? undefined }),
        },
        defined({ signal }),
      );
      if (mode === "dispatch-only") caughtUp += 1;
    }
    total.caughtUp += caughtUp;
    logger.warn("watchdog.missed", { schedule: schedule.id, tenantId, missed, caughtUp });
  }

  return {
    declare: () =>
      ledger.schedules.declare(
        [...schedules.values()].map(({ id, paused, definition }) => ({ id, paused, definition })),
      ),
    run: async ({ signal } = {}) => {
      const total = { caughtUp: 0, missed: 0, waiting: 0, unwatched: 0 };
      for (const progress of await ledger.schedules.progress([...schedules.keys()])) {
        const schedule = schedules.get(progress.schedule);
        // A tenant's schedule has windows only for the tenants that it was ever dispatched for.
        const isKnownScope = (schedule?.windowScope === "tenant") === (progress.tenantId !== null);
        if (schedule === undefined || !isKnownScope) continue;
        if (signal?.aborted === true) {
          total.unwatched += 1;
          continue;
        }
        try {
          await look(schedule, progress, total, signal);
        } catch (error) {
          total.unwatched += 1;
          const { schedule: id, tenantId } = progress;
          logger.error("watchdog.failed", {
            schedule: id,
            tenantId,
            error: describeFailure(error),
          });
        }
      }
      return total;
    },
  };
}

type WatchdogTotal = { -readonly [Count in keyof WatchdogReport]: number };

/**
 * The windows to look for, by the definition of their time: a window that was cut off by a change, or began before it,
 * is none of them. The newest of many.
 */
function windowsOf(
  schedule: Schedule,
  { since, definedAt, earlierDefinitions }: ScheduleProgress,
  until: Date,
): DispatchWindow[] {
  const earlier = earlierDefinitions.flatMap(({ definition, ...period }) => {
    const then = asDefinedBefore(schedule, definition);
    if (then === undefined) return [];
    const from = period.from === null ? since : later(since, new Date(period.from));
    return then.windowsBetween(from, earlierOf(until, new Date(period.until)), maxWindows);
  });
  const from = definedAt === null ? since : later(since, definedAt);
  return [...earlier, ...schedule.windowsBetween(from, until, maxWindows)].slice(-maxWindows);
}

/** Whether a window's tick came and found nothing to do. */
function hasFired({ start, seconds }: DispatchWindow, { fired }: ScheduleProgress): boolean {
  const startMs = start.getTime();
  return fired.some(
    ({ from, until }) =>
      Date.parse(from) <= startMs && startMs + seconds * 1_000 <= Date.parse(until),
  );
}

function later(a: Date, b: Date): Date {
  return a > b ? a : b;
}

function earlierOf(a: Date, b: Date): Date {
  return a < b ? a : b;
}

/** `latest` wants the work done once: where a newer window was dispatched, it was. */
function chooseToCatchUp(
  catchUp: CatchUp,
  missed: readonly MissedWindow[],
  newest: Date | null,
): readonly MissedWindow[] {
  if (catchUp === "none") return [];
  if (catchUp !== "latest") return missed.slice(-catchUp.max);
  return missed.slice(-1).filter(({ windowStart }) => newest === null || windowStart > newest);
}
