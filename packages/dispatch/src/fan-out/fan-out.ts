import { defined } from "@evenkeel/core";
import {
  enqueueMany,
  handleJob,
  SnoozeError,
  TerminalError,
  type JobHandler,
} from "@evenkeel/jobs";
import type { Ledger, TransactionClient } from "@evenkeel/ledger";

import {
  dueAt,
  jobStartOf,
  placeOf,
  type StartJob,
  type StartWindow,
} from "../schedule/schedule-start.ts";
import type { Schedule } from "../schedule/schedule.ts";
import { keysOfSchedule, startedInput, startKeyOf } from "../schedule/started-job.ts";
import { fanOutJob } from "./fan-out-job.ts";

/** What a fan-out works with. */
export interface FanOutOptions {
  readonly ledger: Pick<Ledger, "windows">;
  /** The pool of the ledger's database, in which the tenants' jobs are enqueued. */
  readonly pool: TransactionClient;
  /** The dispatcher's own. */
  readonly schedules: readonly Schedule[];
  /** How long one attempt goes on before it makes room for other jobs, in milliseconds; defaults to 10,000. */
  readonly budgetMs?: number;
}

/** Most tenants of one page. */
const maxPage = 10_000;

/**
 * Creates the handler of the job that fans windows out to tenants, for a runner beside the product's own handlers;
 * `createBackground` adds it where a schedule needs it.
 *
 * The cursor is on record with the window after each page, and each tenant's job is unique by the window: whoever
 * continues after a worker that died may repeat a page, and makes no job twice.
 */
export function createFanOut(options: FanOutOptions): JobHandler {
  const { ledger, pool, budgetMs = 10_000 } = options;
  const schedules = new Map(options.schedules.map((schedule) => [schedule.id, schedule]));

  return handleJob(fanOutJob, async ({ payload, correlationId, signal, logger }) => {
    const { dispatchKey, params } = payload;
    const schedule = schedules.get(payload.schedule);
    const start = schedule && jobStartOf(schedule.start);
    if (schedule === undefined || start?.tenants === undefined) {
      // Another build, which has it, may take the job.
      throw new SnoozeError("This host knows no such schedule.", { delayMs: 60_000 });
    }
    const state = await ledger.windows.beginFanOut(dispatchKey);
    if (state === undefined) throw new TerminalError("The window is not on record any more.");
    if (state.finishedAt !== null) return { tenants: state.tenants, skipped: state.skipped };
    const windowStart = new Date(payload.windowStart);
    const window: StartWindow = {
      schedule: schedule.id,
      start: windowStart,
      end: new Date(windowStart.getTime() + payload.windowSeconds * 1_000),
      ...defined({ params }),
    };
    const context = { dispatchKey, correlationId: correlationId ?? dispatchKey };
    const startedAt = new Date(state.startedAt);
    const endsAtMs = performance.now() + budgetMs;
    let { cursor, tenants, skipped } = state;
    for (;;) {
      const pageAtMs = performance.now();
      const page = await start.tenants(cursor ?? undefined, { signal });
      const next = page.next ?? null;
      if (next !== null && next === cursor) {
        throw new TerminalError(
          "The tenants of a page have the cursor that they were asked for behind.",
        );
      }
      const ids = [...new Set(page.tenants)];
      if (ids.length > maxPage) throw new TerminalError(`A page has more than ${maxPage} tenants.`);
      const busy = await findBusy(schedule, start, ids, dispatchKey);
      const free = ids.filter((id) => !busy.has(id));
      const inputs = free.map((tenantId) => {
        const due = dueAt(
          placeOf(schedule.id, tenantId),
          { start: windowStart, seconds: payload.windowSeconds },
          startedAt,
          start.spreadSeconds,
        );
        return startedInput(start, { ...window, tenantId }, { ...context, tenantId, runAt: due });
      });
      signal.throwIfAborted();
      if (inputs.length > 0) await enqueueMany(pool, start.job, inputs);
      const step = { dispatchKey, from: cursor, to: next, tenants: ids.length, skipped: busy.size };
      tenants += ids.length;
      skipped += busy.size;
      // Another worker has taken over; what it does is the same.
      if (!(await ledger.windows.stepFanOut(step))) return { tenants, skipped };
      if (next === null) {
        logger.info("fan_out.done", { schedule: schedule.id, dispatchKey, tenants, skipped });
        return { tenants, skipped };
      }
      cursor = next;
      const paceMs = (ids.length / (start.perSecond ?? 1_000)) * 1_000;
      const waitMs = pageAtMs + paceMs - performance.now();
      if (performance.now() + waitMs >= endsAtMs) {
        throw new SnoozeError("There are more tenants.", { delayMs: Math.max(0, waitMs) });
      }
      await pause(waitMs, signal);
    }
  });

  /** Those of the tenants that another window's job still waits or runs for, where that leaves them out. */
  async function findBusy(
    schedule: Schedule,
    start: StartJob,
    tenantIds: readonly string[],
    dispatchKey: string,
  ): Promise<ReadonlySet<string>> {
    if (schedule.overlap !== "skip" || tenantIds.length === 0) return new Set();
    const { from: fromKey, until: untilKey } = keysOfSchedule(dispatchKey);
    const keys = { fromKey, untilKey, exceptKey: startKeyOf(dispatchKey) };
    return new Set(
      await ledger.windows.findUnsettled({ ...keys, type: start.job.type, tenantIds }),
    );
  }
}

/** Waits so long, or until the signal fires, which is then thrown. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  if (ms <= 0) return;
  await new Promise<void>((resolve, reject) => {
    const end = (): void => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", end);
      resolve();
    }, ms);
    signal.addEventListener("abort", end, { once: true });
  });
}
