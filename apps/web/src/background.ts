import { fieldsFirst } from "@evenkeel/core";
import { defineSchedule } from "@evenkeel/dispatch";
import { createBackground } from "@evenkeel/functions";
import { createInbox, inboxSchedules } from "@evenkeel/inbox";
import { serve } from "inngest/next";
import { Pool } from "pg";
import { pino } from "pino";

import { readConfig, readRepairTimes } from "./env.ts";

/** The process's background work. Its parts are made at the first request: a build has no environment. */
export const background = createBackground({
  appId: "evenkeel",
  hostName: "web",
  config: readConfig,
  pool: ({ databaseUrl }) =>
    new Pool({
      connectionString: databaseUrl,
      max: 10,
      connectionTimeoutMillis: 10_000,
      keepAlive: true,
    }),
  handlers: ({ pool }) => createInbox({ pool }).handlers,
  schedules: inboxSchedules.map((schedule) => defineSchedule(schedule)),
  // The module of the start is another instance than that of the routes.
  migratesAtUse: true,
  // The worker relays, watches and prunes.
  maintenance: { relay: false, watchdog: false },
  // The Inngest route's `maxDuration`, in milliseconds.
  hostTimeoutMs: 60_000,
  ...readRepairTimes(),
  serve,
  logger: fieldsFirst(pino({ name: "web" })),
});
