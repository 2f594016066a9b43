import { defined, type Logger } from "@evenkeel/core";
import { defineSchedule } from "@evenkeel/dispatch";
import { createBackground, type Background } from "@evenkeel/functions";
import { inboxSchedules, type Inbox } from "@evenkeel/inbox";
import { serve } from "inngest/edge";
import type { Pool } from "pg";

import type { WorkerEnvironment } from "./env.ts";

/** The worker's background work. */
export type WorkerBackground = Background<[Request], Promise<Response>>;

/** What {@link composeBackground} works with. */
export interface CompositionOptions {
  readonly environment: WorkerEnvironment;
  readonly logger: Logger;
  readonly pool: Pool;
  readonly inbox: Inbox;
  /** Ends drains gently. */
  readonly stopSignal: AbortSignal;
  /** Ends drains at once. */
  readonly signal: AbortSignal;
}

/** Composes the worker's background work. */
export function composeBackground(options: CompositionOptions): WorkerBackground {
  const { environment, inbox, ...shared } = options;
  const { config, serveOrigin, neverStartedAfterMs, staleAfterMs } = environment;
  return createBackground({
    ...shared,
    appId: "evenkeel",
    hostName: "worker",
    ...defined({ serveOrigin }),
    config,
    handlers: inbox.handlers,
    // The web host dispatches them, and this one watches.
    schedules: inboxSchedules.map((schedule) => defineSchedule(schedule)),
    neverStartedAfterMs,
    staleAfterMs,
    // The relay and the watchdog have timers of their own, and inline work is the web host's.
    maintenance: { relay: false, watchdog: false, pruner: true },
    runsInline: false,
    serve: (served) => serve({ ...served, ...defined({ serveOrigin }) }),
  });
}
