import { silentLogger } from "@evenkeel/core";
import {
  createDispatcher,
  createWatchdog,
  defineSchedule,
  type Watchdog,
} from "@evenkeel/dispatch";
import { createBackgroundClient, createEventSender } from "@evenkeel/functions";

import type { System } from "./system/system.ts";
import type { CronService } from "./ticks.ts";

/**
 * The watchdog that a host runs, by the clock of the cron service: a window of every tick that came is to be
 * on record, or it is dispatched after all.
 */
export function createCronWatchdog(
  { ledger, gate }: Pick<System, "ledger" | "gate">,
  cron: CronService,
): Watchdog {
  const schedule = defineSchedule({
    id: "background-jobs",
    every: cron.windowSeconds,
    catchUp: { max: 100 },
  });
  const owner = "watchdog";
  const client = createBackgroundClient({
    appId: "evenkeel",
    config: { dev: true, devUrl: gate.url },
    owner,
    logger: silentLogger,
  });
  const dispatcher = createDispatcher({
    ledger,
    send: createEventSender(client),
    config: {
      useInngest: { enabled: true, because: "the fault run" },
      windowSeconds: cron.windowSeconds,
    },
    // What the hosts use when INNGEST_ENV is unset: the ids must be theirs.
    environment: "production",
    owner,
    schedules: [schedule],
    logger: silentLogger,
  });
  return createWatchdog({
    schedules: [schedule],
    ledger,
    dispatcher,
    owner,
    clock: { now: () => cron.now },
    logger: silentLogger,
    graceMs: 2 * cron.windowSeconds * 1_000,
  });
}
