import { createHash } from "node:crypto";

import type { JsonValue } from "@evenkeel/core";
import type { EventContract, ScheduledEventData } from "@evenkeel/events";
import type { JobDefinition } from "@evenkeel/jobs";
import type { z } from "zod";

/** The window that starts something. */
export interface StartWindow {
  readonly schedule: string;
  readonly start: Date;
  readonly end: Date;
  /** The tenant that it is started for; absent: the schedule's global scope. */
  readonly tenantId?: string;
  /** The parameters of the dispatch. */
  readonly params?: Readonly<Record<string, JsonValue>>;
}

/** Tenants of a page, and where the next begins. */
export interface TenantPage {
  /** At most 10,000. */
  readonly tenants: readonly string[];
  /** Given to the next call; absent: this is the last page. */
  readonly next?: string;
}

/** Starts a job per window, which exists if and only if the window is claimed. */
export interface StartJob<Schema extends z.ZodType = z.ZodType> {
  /** What is enqueued. The window is its unique key, in place of the definition's own. */
  readonly job: JobDefinition<Schema>;
  /** Makes the job's payload of the window. */
  payload(window: StartWindow): z.input<Schema>;
  /** Whose job it is where the schedule's scope is `global`; defaults to `global`. */
  readonly tenantId?: string;
  /**
   * Makes one job for each of these tenants, where the scope is `tenant`: a product's query, read page by page behind
   * the cursor that the page before gave. A page may be asked for again. Without it each tick names its tenant.
   */
  tenants?(
    cursor: string | undefined,
    options: { readonly signal: AbortSignal },
  ): Promise<TenantPage>;
  /** Most tenants that jobs are made for in a second, 1 to 10,000; defaults to 1,000. */
  readonly perSecond?: number;
  /**
   * Over how many seconds from the window's start the tenants' jobs are due, each tenant at its own moment of every
   * window: 0, all at once, up to the window's length, the default.
   */
  readonly spreadSeconds?: number;
}

/** Sends an event of a product's own per window, in place of the one that drains the queue. */
export interface StartEvent {
  /** Its contract, whose schema extends `scheduledEventSchema`. Names that begin with `background/` are ours. */
  readonly event: EventContract<string, z.ZodType<ScheduledEventData>>;
  /** Fields beside those of every scheduled event; none by default. */
  data?(window: StartWindow): Readonly<Record<string, unknown>>;
}

/** What a schedule's windows start. `queue`: a drain of what is due. */
export type ScheduleStart<Schema extends z.ZodType = z.ZodType> =
  | "queue"
  | StartJob<Schema>
  | StartEvent;

/** Returns what starts a job, if that is what a schedule starts. */
export function jobStartOf(start: ScheduleStart): StartJob | undefined {
  return typeof start === "object" && "job" in start ? start : undefined;
}

/** Returns what starts an event, if that is what a schedule starts. */
export function eventStartOf(start: ScheduleStart): StartEvent | undefined {
  return typeof start === "object" && "event" in start ? start : undefined;
}

/** Returns what is wrong with it; `undefined` where nothing is. */
export function findStartProblem(
  start: ScheduleStart,
  scope: "global" | "tenant",
): string | undefined {
  if (start === "queue") return undefined;
  const event = eventStartOf(start);
  if (event !== undefined) {
    return event.event.name.startsWith("background/")
      ? "starts an event whose name begins with background/, which is ours"
      : undefined;
  }
  const job = jobStartOf(start);
  const { tenantId, perSecond = 1, spreadSeconds = 0 } = job ?? {};
  if (scope === "global" && job?.tenants !== undefined) {
    return "takes tenants only with the scope tenant";
  }
  if (scope === "tenant" && tenantId !== undefined) {
    return "takes no start.tenantId with the scope tenant";
  }
  if (!(Number.isInteger(perSecond) && perSecond >= 1 && perSecond <= 10_000)) {
    return "takes a whole number from 1 to 10,000 as start.perSecond";
  }
  return Number.isFinite(spreadSeconds) && spreadSeconds >= 0
    ? undefined
    : "takes a number from 0 as start.spreadSeconds";
}

/** Returns it as the ledger mirrors it: names, and no code. */
export function describeStart(start: ScheduleStart): unknown {
  const event = eventStartOf(start);
  if (event !== undefined) return { event: event.event.name, version: event.event.version };
  const job = jobStartOf(start);
  if (job === undefined) return "queue";
  const { perSecond, spreadSeconds } = job;
  return {
    job: job.job.type,
    version: job.job.version,
    perSecond,
    spreadSeconds,
    fansOut: job.tenants !== undefined,
  };
}

/**
 * Returns a tenant's place among a schedule's tenants, from 0 up to 1: the same in every window and on every host, and
 * even over many tenants.
 */
export function placeOf(schedule: string, tenantId: string): number {
  const digest = createHash("sha256").update(`${schedule}\0${tenantId}`, "utf8").digest();
  return digest.readUInt32BE(0) / 2 ** 32;
}

/**
 * Returns when a tenant's job of a window is due: at its place from the window's start. Where that has passed when the
 * window is fanned out, as of a window that is caught up with, at its place from then on.
 */
export function dueAt(
  place: number,
  window: { readonly start: Date; readonly seconds: number },
  fannedOutAt: Date,
  spreadSeconds: number = window.seconds,
): Date {
  const offsetMs = place * Math.min(spreadSeconds, window.seconds) * 1_000;
  const atMs = window.start.getTime() + offsetMs;
  return new Date(atMs >= fannedOutAt.getTime() ? atMs : fannedOutAt.getTime() + offsetMs);
}
