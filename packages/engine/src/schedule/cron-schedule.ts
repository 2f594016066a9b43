import type { App } from "../app/app.ts";
import { nextCronTickMs } from "../app/cron-expression.ts";
import type { FunctionConfig } from "../app/function-config.ts";
import type { Random } from "../time/random.ts";
import type { Timer, TimerQueue } from "../time/timer-queue.ts";

/** The cron triggers of all apps, each with its next tick. */
export interface CronSchedule {
  /** Takes over the cron triggers of an app that synced; those of its earlier sync are dropped. */
  sync(app: App): void;
  /** The next tick of each trigger, soonest first. */
  upcoming(): { readonly function: string; readonly cron: string; readonly atMs: number }[];
  clear(): void;
}

interface Entry {
  readonly fn: FunctionConfig;
  readonly cron: string;
  readonly jitterMs: number;
  atMs: number;
  timer: Timer | undefined;
}

/** Creates a {@link CronSchedule}; `start` is called at each tick. */
export function createCronSchedule(deps: {
  timers: TimerQueue;
  now: () => number;
  random: Random;
  start: (fn: FunctionConfig, cron: string) => void;
}): CronSchedule {
  const { timers, now, random, start } = deps;
  const entries = new Map<string, Entry>();

  function arm(entry: Entry, fromMs: number): void {
    const tickMs = nextCronTickMs(entry.cron, fromMs);
    if (tickMs === undefined) return;
    entry.atMs = tickMs + Math.floor(entry.jitterMs * random());
    entry.timer = timers.at(entry.atMs, () => {
      arm(entry, Math.max(tickMs, now()));
      start(entry.fn, entry.cron);
    });
  }

  return {
    sync(app) {
      for (const [key, entry] of entries) {
        if (entry.fn.appName !== app.name) continue;
        entry.timer?.cancel();
        entries.delete(key);
      }
      for (const fn of app.functions) {
        for (const trigger of fn.triggers) {
          if (trigger.kind !== "cron") continue;
          const entry: Entry = {
            fn,
            cron: trigger.cron,
            jitterMs: trigger.jitterMs,
            atMs: 0,
            timer: undefined,
          };
          entries.set(`${fn.id} ${trigger.cron}`, entry);
          arm(entry, now());
        }
      }
    },
    upcoming: () =>
      [...entries.values()]
        .map((entry) => ({ function: entry.fn.slug, cron: entry.cron, atMs: entry.atMs }))
        .toSorted((a, b) => a.atMs - b.atMs),
    clear() {
      for (const entry of entries.values()) entry.timer?.cancel();
      entries.clear();
    },
  };
}
