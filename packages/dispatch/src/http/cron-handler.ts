import {
  defined,
  describeMessage,
  EvenkeelError,
  resolveLogger,
  type Logger,
} from "@evenkeel/core";

import { DispatchError } from "../dispatch-error.ts";
import type { Dispatcher } from "../dispatcher/dispatcher.ts";
import type { DispatchRequest } from "../dispatcher/prepared-dispatch.ts";
import { receiptStatus, type DispatchMode } from "../dispatcher/receipt.ts";
import { parseScheduleId } from "../schedule/dispatch-key.ts";
import type { Schedule } from "../schedule/schedule.ts";
import { authenticate, Refusals } from "./cron-authentication.ts";
import { jsonResponse, lastSegment } from "./json-response.ts";

/** What a cron handler works with. */
export interface CronHandlerOptions {
  readonly dispatcher: Pick<Dispatcher, "dispatch">;
  /** Secrets that authenticate a tick, the current one first; an empty list closes the endpoint with 503. */
  readonly cronSecrets: readonly string[];
  /** The one schedule that this route dispatches; defaults to `background-jobs`. Ignored with `schedules`. */
  readonly schedule?: string;
  /**
   * In place of `schedule`: the schedules that this route dispatches, by the last segment of its path
   * (`/api/cron/[schedule]`). A tick may carry the parameters that its schedule lists as query parameters,
   * and `tenant` where the schedule's scope is `tenant`. The dispatcher must know the same schedules.
   */
  readonly schedules?: readonly Schedule[];
  /** Judges the age of a scheduled time, and paces the lines about refused ticks; defaults to the system's clock. */
  readonly clock?: { now(): Date };
  /** Where failures are logged; defaults to the console. */
  readonly logger?: Logger;
}

/** The oldest scheduled time that a tick may carry, in milliseconds: 24 hours. */
const maxLatenessMs = 24 * 60 * 60 * 1000;

/** How far a scheduler's clock may run ahead of ours, in milliseconds. */
const maxClockSkewMs = 60 * 1000;

/** Seconds after which a failed tick may be tried again. */
const retryAfterSeconds = 5;

/** What somebody can put right while the window lasts. */
const retried: ReadonlySet<DispatchMode> = new Set(["dispatch-failed", "ledger-not-ready"]);

/**
 * Creates the cron route: GET or POST with `Authorization: Bearer <secret>`. The response's body is the
 * receipt, its status that of the receipt's mode. A scheduler that knows when the tick was meant to be says
 * so in the header `x-evenkeel-scheduled-at` (ISO 8601, at most 24 hours ago and a minute ahead); a late tick then still
 * belongs to its own window. Vercel's cron jobs send no such time. A run of Vercel Schedules has one and an execution id
 * (vercel.com/docs/schedules/concepts), which its SDK hands to a function; headers of a route are not documented, so such
 * a function calls `dispatcher.dispatch` with both.
 * `x-correlation-id` is kept when it is 1 to 200 plain characters. Refused ticks are counted and logged as
 * `cron.refused`, one line a minute at most.
 *
 * @throws DispatchError `invalid_schedule`.
 *
 * @example
 * const handler = createCronHandler({ dispatcher, cronSecrets: config.cronSecrets });
 * export { handler as GET, handler as POST };
 */
export function createCronHandler(
  options: CronHandlerOptions,
): (request: Request) => Promise<Response> {
  const { dispatcher, cronSecrets } = options;
  const fixedSchedule = parseScheduleId(options.schedule ?? "background-jobs");
  const schedules =
    options.schedules && new Map(options.schedules.map((schedule) => [schedule.id, schedule]));
  const clock = options.clock ?? { now: () => new Date() };
  const logger = resolveLogger(options.logger);
  const refusals = new Refusals({ route: "cron", logger, clock });

  return async (request) => {
    if (request.method !== "GET" && request.method !== "POST") {
      return jsonResponse(405, { error: "method_not_allowed" }, { allow: "GET, POST" });
    }
    const authorization = request.headers.get("authorization");
    const authentication = authenticate(authorization, cronSecrets);
    if (authentication === "closed") {
      refusals.close("CRON_SECRET");
      return jsonResponse(503, {
        mode: "not-configured",
        reason: "This endpoint is not configured.",
      });
    }
    if (authentication === "refused") return refusals.refuse(authorization);
    const schedule = schedules === undefined ? fixedSchedule : (lastSegment(request) ?? "");
    if (schedules !== undefined && !schedules.has(schedule)) {
      return jsonResponse(404, { error: "unknown_schedule" });
    }
    try {
      const scheduledAt = parseScheduledAt(
        request.headers.get("x-evenkeel-scheduled-at"),
        clock.now(),
      );
      const correlationId = parseCorrelationId(request.headers.get("x-correlation-id"));
      const receipt = await dispatcher.dispatch({
        schedule,
        source: "cron",
        onlyIfDue: true,
        ...(schedules === undefined ? {} : readQuery(request)),
        ...defined({ scheduledAt, correlationId }),
      });
      const headers: Record<string, string> = { "x-correlation-id": receipt.correlationId };
      if (retried.has(receipt.mode)) headers["retry-after"] = String(retryAfterSeconds);
      return jsonResponse(receiptStatus(receipt), receipt, headers);
    } catch (error) {
      if (error instanceof EvenkeelError && callersFault.has(error.code)) {
        return jsonResponse(400, { error: error.code, reason: error.message });
      }
      logger.error("cron.failed", {
        code: error instanceof EvenkeelError ? error.code : "internal",
        error: describeMessage(error),
      });
      return jsonResponse(500, { error: "internal" });
    }
  };
}

/** Errors that a caller can mend, by what it sent. */
const callersFault: ReadonlySet<string> = new Set([
  "invalid_scheduled_time",
  "invalid_params",
  "invalid_scope",
  "invalid_tenant",
]);

/** Reads tenant and parameters. @throws DispatchError `invalid_params` when a parameter comes twice. */
function readQuery(request: Request): Pick<DispatchRequest, "tenantId" | "params"> {
  const { searchParams } = new URL(request.url);
  const { tenant, ...params } = Object.fromEntries(searchParams);
  if (searchParams.size > Object.keys(params).length + (tenant === undefined ? 0 : 1)) {
    throw new DispatchError("invalid_params", "A parameter comes twice.");
  }
  return {
    ...defined({ tenantId: tenant }),
    ...(Object.keys(params).length === 0 ? {} : { params }),
  };
}

function parseScheduledAt(value: string | null, now: Date): Date | undefined {
  if (value === null) return undefined;
  const at = new Date(value);
  const isIso = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})$/u.test(value);
  const ageMs = now.getTime() - at.getTime();
  if (isIso && ageMs <= maxLatenessMs && ageMs >= -maxClockSkewMs) return at;
  throw new DispatchError(
    "invalid_scheduled_time",
    "x-evenkeel-scheduled-at must be an ISO 8601 time with its zone, at most 24 hours ago and not in the future.",
  );
}

function parseCorrelationId(value: string | null): string | undefined {
  return value !== null && /^[\w.:/-]{1,200}$/u.test(value) ? value : undefined;
}
