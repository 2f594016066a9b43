import { randomUUID } from "node:crypto";

import { silentLogger, withDeadline, type Lane } from "@evenkeel/core";
import { checkEvent, maintenanceRequested } from "@evenkeel/events";
import type { Ledger } from "@evenkeel/ledger";

import type { BackgroundConfig } from "../background-config.ts";
import { formatDispatchKey, formatEventId } from "../schedule/dispatch-key.ts";
import { computeWindow } from "../schedule/dispatch-window.ts";
import { describeFailure } from "./dispatch-record.ts";
import type { DispatcherOptions } from "./dispatcher.ts";
import type { OutgoingEvent } from "./prepared-dispatch.ts";

/** What a starter works with: the dispatcher's own, but for the ledger. */
export interface HandshakeStarterOptions extends Pick<
  DispatcherOptions,
  "send" | "environment" | "lane" | "clock" | "logger" | "sendTimeoutMs"
> {
  readonly ledger: Pick<Ledger, "handshake">;
  readonly config: Pick<BackgroundConfig, "useInngest" | "forceInlineUntil">;
  /** The app's release: each has a handshake of its own. Empty by default. */
  readonly build?: string;
}

/**
 * Sends the handshake of a host that starts: after a deploy, what is sent must come back. Of the hosts of a build that
 * start within ten seconds, one sends. Returns whether this one did. It never rejects.
 */
export type HandshakeStarter = () => Promise<boolean>;

/** The id of the schedule in a start's dispatch key. It has no windows on record. */
const startSchedule = "handshake";

/** The hosts that start within so many seconds send one handshake. A restart after that has one of its own. */
const startSeconds = 10;

/** Creates the starter of a host. */
export function createHandshakeStarter(options: HandshakeStarterOptions): HandshakeStarter {
  const { ledger, config, environment, lane = "stable", build = "" } = options;
  const { logger = silentLogger, sendTimeoutMs = 10_000 } = options;
  const clock = options.clock ?? { now: () => new Date() };

  return async () => {
    const now = clock.now();
    const isForced = config.forceInlineUntil !== undefined && now < config.forceInlineUntil;
    if (!config.useInngest.enabled || isForced) return false;
    const event = startEvent({ environment, lane, build, now });
    const { dispatchKey } = event.data;
    try {
      if (!(await ledger.handshake.begin({ lane, dispatchKey, build }))) return false;
      await withDeadline(sendTimeoutMs, (signal) => options.send([event], { signal }));
      logger.info("handshake.sent", { lane, build });
      return true;
    } catch (error) {
      // The watch names the cause: what was begun does not come back.
      logger.warn("handshake.not_sent", { lane, build, error: describeFailure(error) });
      return false;
    }
  };
}

function startEvent({
  environment,
  lane,
  build,
  now,
}: {
  readonly environment: string;
  readonly lane: Lane;
  readonly build: string;
  readonly now: Date;
}): OutgoingEvent {
  const { name, version: schemaVersion } = maintenanceRequested;
  const window = computeWindow(now, startSeconds);
  const params = { build };
  const dispatchKey = formatDispatchKey({ schedule: startSchedule, window, params });
  const id = formatEventId({ name, schemaVersion, environment, dispatchKey });
  return checkEvent(maintenanceRequested, {
    id: lane === "stable" ? id : `${id}:${lane}`,
    data: {
      source: "start",
      requestedAt: now.toISOString(),
      dispatchKey,
      correlationId: randomUUID(),
      dispatchWindowStart: window.start.toISOString(),
      dispatchWindowSeconds: window.seconds,
      schemaVersion,
      lane,
      schedule: startSchedule,
      params,
    },
  });
}
