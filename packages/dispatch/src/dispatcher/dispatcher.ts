import { randomUUID } from "node:crypto";

import { silentLogger, withDeadline, type Lane, type Logger } from "@evenkeel/core";
import type { Ledger, WindowRepair } from "@evenkeel/ledger";

import type { BackgroundConfig } from "../background-config.ts";
import type { HandshakeWatch } from "../handshake/handshake-watch.ts";
import {
  computeWindow,
  nudgeWindowSeconds,
  type DispatchWindow,
} from "../schedule/dispatch-window.ts";
import { checkScope, type Schedule } from "../schedule/schedule.ts";
import { DispatchRecord, type Claim } from "./dispatch-record.ts";
import { InlineFallback, type RunInline } from "./inline-fallback.ts";
import {
  prepare,
  prepareRepair,
  type DispatchRequest,
  type OutgoingEvent,
  type PreparedDispatch,
} from "./prepared-dispatch.ts";
import type { Receipt } from "./receipt.ts";

/** What a dispatcher works with. */
export interface DispatcherOptions {
  /** Absent: dispatches are not recorded, and only Inngest's memory of event ids suppresses repeats. */
  readonly ledger?: Pick<Ledger, "windows">;
  /** Sends the events, all or none as far as it can. Rejects when they may not have arrived. */
  readonly send: (
    events: readonly OutgoingEvent[],
    options: { readonly signal: AbortSignal },
  ) => Promise<unknown>;
  /** Runs the work inside this process, for the operator's switches; absent: they cannot be used. */
  readonly runInline?: RunInline;
  /** The switches, and the length of windows of schedules that are not in `schedules`. */
  readonly config: Pick<
    BackgroundConfig,
    "useInngest" | "forceInlineUntil" | "inlineFallbackUntil" | "windowSeconds"
  >;
  /**
   * Schedules with windows of their own; none by default. One that is not among them has windows of
   * `config.windowSeconds`, in any scope.
   */
  readonly schedules?: readonly Schedule[];
  /** Says in receipts while what is sent does not come back; absent: nobody watches. */
  readonly handshake?: HandshakeWatch;
  /** Part of every event id: `production`, `staging`. Every host of an environment needs the same. */
  readonly environment: string;
  /** Names this host in the ledger. */
  readonly owner: string;
  /** The cohort of this dispatcher's work; defaults to `stable`. */
  readonly lane?: Lane;
  /** Decides windows and the ends of the inline switches; defaults to the system's clock. */
  readonly clock?: { now(): Date };
  /** Where receipts and failures are logged; silent by default. */
  readonly logger?: Logger;
  /** How long a claim is good for, in milliseconds; defaults to 30,000. Longer than both time-outs together. */
  readonly leaseMs?: number;
  /** How long a send may take, in milliseconds; defaults to 10,000. */
  readonly sendTimeoutMs?: number;
  /** How long the ledger may take before it counts as unavailable, in milliseconds; defaults to 5,000. */
  readonly ledgerTimeoutMs?: number;
}

/** Dispatches windows. */
export interface Dispatcher {
  /**
   * Claims the request's window, sends its events and records the outcome; the receipt says what became of
   * it. Only a malformed request throws.
   *
   * @throws DispatchError `invalid_schedule`, `invalid_window`, `invalid_scope` or `invalid_params`;
   * InputError `invalid_tenant`, `invalid_payload` or `payload_too_large`, with nothing claimed or sent.
   */
  dispatch(request: DispatchRequest): Promise<Receipt>;
  /**
   * Dispatches this very second, as a window of its own. It sends the process event alone, and never works
   * inline. `createNudge` calls it.
   *
   * @throws As {@link dispatch} does.
   */
  nudge(request: Omit<DispatchRequest, "scheduledAt">): Promise<Receipt>;
  /**
   * Sends a window's events again, for a repair that the ledger has claimed, and records the outcome under
   * the repair's fence. The ids are new where Inngest remembers the first ones; the guard makes sure that
   * one run works.
   */
  repair(repair: WindowRepair): Promise<Receipt>;
}

/**
 * Creates a dispatcher.
 *
 * @example
 * const dispatcher = createDispatcher({ ledger, send, config, environment: "production", owner });
 * const receipt = await dispatcher.dispatch({ schedule: "background-jobs", source: "cron" });
 */
export function createDispatcher(options: DispatcherOptions): Dispatcher {
  const { config, environment, lane = "stable", owner } = options;
  const { leaseMs = 30_000, sendTimeoutMs = 10_000, ledgerTimeoutMs = 5_000 } = options;
  const { ledger, runInline, logger = silentLogger } = options;
  const clock = options.clock ?? { now: () => new Date() };
  const schedules = new Map((options.schedules ?? []).map((schedule) => [schedule.id, schedule]));
  const watch = options.handshake;
  const record = new DispatchRecord({
    ledger,
    lane,
    owner,
    logger,
    leaseMs,
    ledgerTimeoutMs,
    watch,
  });
  // Inline work is done and recorded while the claim still holds.
  const budgetMs = Math.max(1, leaseMs - sendTimeoutMs - ledgerTimeoutMs);
  const inline = new InlineFallback({ record, runInline, config, lane, budgetMs, clock, logger });

  const prepareNow = (request: DispatchRequest, window: DispatchWindow): PreparedDispatch =>
    prepare(request, {
      window,
      lane,
      environment,
      requestedAt: clock.now(),
      correlationId: randomUUID(),
    });

  const claim = (dispatch: PreparedDispatch): Promise<Claim> => {
    const schedule = schedules.get(dispatch.request.schedule);
    return record.claim(dispatch, schedule?.overlap === "skip");
  };

  async function send(dispatch: PreparedDispatch, held: Claim): Promise<Receipt> {
    try {
      await withDeadline(sendTimeoutMs, (signal) => options.send(dispatch.events, { signal }));
    } catch (error) {
      return inline.afterFailedSend(dispatch, held, error);
    }
    return record.enqueued(dispatch, held);
  }

  async function dispatchWindow(request: DispatchRequest): Promise<Receipt> {
    const at = request.scheduledAt ?? clock.now();
    const schedule = schedules.get(request.schedule);
    checkScope(schedule, request);
    const window = schedule?.windowAt(at) ?? computeWindow(at, config.windowSeconds);
    const dispatch = prepareNow(request, window);
    const canSend = config.useInngest.enabled;
    const isForced = inline.isForced();
    if (!isForced && !canSend && !inline.isOn()) {
      return record.receipt(dispatch, "not-configured", false, {
        reason: `Inngest is off (${config.useInngest.because}) and no inline switch is on.`,
      });
    }
    const held = await claim(dispatch);
    const declined = record.declined(dispatch, held);
    if (declined !== undefined) return declined;
    if (isForced) return inline.work(dispatch, held, "inline-forced");
    if (!canSend) return inline.work(dispatch, held, "inline-emergency-fallback");
    return send(dispatch, held);
  }

  return {
    dispatch: async (request) => {
      const receipt = await dispatchWindow(request);
      const handshake = config.useInngest.enabled ? await watch?.failing() : undefined;
      return handshake === undefined ? receipt : { ...receipt, handshake };
    },
    nudge: async (request) => {
      checkScope(schedules.get(request.schedule), request);
      const dispatch = prepareNow(request, computeWindow(clock.now(), nudgeWindowSeconds));
      const isForced = inline.isForced();
      if (isForced || !config.useInngest.enabled) {
        const reason = isForced
          ? "Work is forced inline, which only a tick does."
          : `Inngest is off (${config.useInngest.because}).`;
        return record.receipt(dispatch, "not-configured", false, { reason });
      }
      const held = await claim(dispatch);
      return record.declined(dispatch, held) ?? send(dispatch, held);
    },
    repair: async (repair) => {
      const dispatch = prepareRepair(repair, { environment, requestedAt: clock.now() });
      const { claimCount } = repair.window;
      return send(dispatch, { outcome: "claimed", fence: repair.fence, claimCount });
    },
  };
}
