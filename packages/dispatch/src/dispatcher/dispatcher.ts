import { resolveLogger, withDeadline, type Lane, type Logger } from "@evenkeel/core";
import { maintenanceRequested } from "@evenkeel/events";
import type { Ledger, WindowRepair } from "@evenkeel/ledger";

import type { BackgroundConfig } from "../background-config.ts";
import type { HandshakeWatch } from "../handshake/handshake-watch.ts";
import { isNudge } from "../schedule/dispatch-window.ts";
import type { Schedule } from "../schedule/schedule.ts";
import { DispatchRecord, type Claim } from "./dispatch-record.ts";
import { limitToDue } from "./due-events.ts";
import { InlineFallback, type InlineFallbackOptions, type RunInline } from "./inline-fallback.ts";
import { bringMaintenance } from "./nudge-maintenance.ts";
import { createPreparation } from "./preparation.ts";
import type { DispatchRequest, OutgoingEvent, PreparedDispatch } from "./prepared-dispatch.ts";
import type { Receipt } from "./receipt.ts";
import { defaultRepairTimes } from "./repair-times.ts";
import { withSignal } from "./send-limits.ts";
import { findInlineProblem, startedWorkOf } from "./window-start.ts";

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
  /** Where receipts and failures are logged; defaults to the console. */
  readonly logger?: Logger;
  /**
   * How long a claim is good for, in milliseconds; defaults to 30,000. Longer than both time-outs together. While inline
   * work goes on, its claim is renewed every third of it.
   */
  readonly leaseMs?: number;
  /** How long a send may take, in milliseconds; defaults to 10,000. */
  readonly sendTimeoutMs?: number;
  /** How long the ledger may take before it counts as unavailable, in milliseconds; defaults to 5,000. */
  readonly ledgerTimeoutMs?: number;
  /**
   * By when inline work has ended, in milliseconds; defaults to 50,000, and less where its switch ends before or a send
   * took its time. What ignores it is waited for 5 s longer; then the tick is answered, the claim is held on, and this
   * host works for no other tick until that work has ended.
   */
  readonly inlineDeadlineMs?: number;
  /** When a sent window counts as waiting for repair, which makes upkeep due at once: the reconciler's own settings. */
  readonly neverStartedAfterMs?: number;
  readonly staleAfterMs?: number;
}

/** How far one dispatch goes. */
export interface DispatchLimits {
  /** Ends the send when it fires; the window is left to a later repair. None by default. */
  readonly signal?: AbortSignal;
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
   * Dispatches a window that no tick asked for, by sending alone: it never works inline, and under a rollback it claims
   * nothing and returns `not-configured`. The watchdog calls it.
   *
   * @throws As {@link dispatch} does.
   */
  catchUp(request: DispatchRequest, limits?: DispatchLimits): Promise<Receipt>;
  /**
   * Dispatches this very second, as a window of its own. It sends the process event, and the maintenance event where no
   * maintenance has begun for 5 minutes. It never works inline. `createNudge` calls it.
   *
   * @throws As {@link dispatch} does.
   */
  nudge(request: Omit<DispatchRequest, "scheduledAt">): Promise<Receipt>;
  /**
   * Sends a window's events again, for a repair that the ledger has claimed, and records the outcome under
   * the repair's fence. The ids are new where Inngest remembers the first ones; the guard makes sure that
   * one run works. It never works inline, and under a rollback it sends nothing and fails.
   */
  repair(repair: WindowRepair, limits?: DispatchLimits): Promise<Receipt>;
  /** Why nothing but a tick works now: a rollback is on, or Inngest is off. `undefined`: events are sent. */
  whyHeld(): string | undefined;
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
  const { ledger, handshake: watch } = options;
  const logger = resolveLogger(options.logger);
  const clock = options.clock ?? { now: () => new Date() };
  const schedules = new Map((options.schedules ?? []).map((schedule) => [schedule.id, schedule]));
  const times = { leaseMs, ledgerTimeoutMs };
  const record = new DispatchRecord({ ...times, ledger, lane, owner, logger, watch });
  const judgement = {
    neverStartedAfterMs: options.neverStartedAfterMs ?? defaultRepairTimes.neverStartedAfterMs,
    staleAfterMs: options.staleAfterMs ?? defaultRepairTimes.staleAfterMs,
  };
  const inline = openInline(options, { ...times, sendTimeoutMs, record, lane, clock, logger });
  const { windowSeconds } = config;
  const preparation = createPreparation({ schedules, windowSeconds, lane, environment, clock });

  const claim = (dispatch: PreparedDispatch): Promise<Claim> => {
    const schedule = schedules.get(dispatch.request.schedule);
    return record.claim(
      dispatch,
      schedule?.overlap === "skip",
      isNudge(dispatch.window) ? undefined : startedWorkOf(schedule, dispatch),
    );
  };

  const whyHeld = (): string | undefined => {
    if (inline.isForced()) return "Work is forced inline, which only a tick does.";
    return config.useInngest.enabled ? undefined : `Inngest is off (${config.useInngest.because}).`;
  };

  async function send(
    dispatch: PreparedDispatch,
    held: Claim,
    limits: DispatchLimits & { readonly worksInline: boolean },
  ): Promise<Receipt> {
    try {
      await withDeadline(sendTimeoutMs, (signal) =>
        withSignal(limits.signal, signal, (either) =>
          options.send(dispatch.events, { signal: either }),
        ),
      );
    } catch (error) {
      const isReplaceable =
        limits.worksInline &&
        findInlineProblem(schedules.get(dispatch.request.schedule)) === undefined;
      return isReplaceable
        ? inline.afterFailedSend(dispatch, held, error)
        : record.failed(dispatch, held, error);
    }
    return record.enqueued(dispatch, held);
  }

  /** Claims and sends, and never works inline. */
  async function sendOnly(
    dispatch: PreparedDispatch,
    limits: DispatchLimits = {},
  ): Promise<Receipt> {
    const reason = whyHeld();
    if (reason !== undefined) return record.receipt(dispatch, "not-configured", false, { reason });
    const held = await claim(dispatch);
    const declined = record.declined(dispatch, held);
    if (declined !== undefined) return declined;
    const context = { lane, environment, requestedAt: clock.now() };
    const events = [...dispatch.events, ...(await bringMaintenance(dispatch, record, context))];
    return send({ ...dispatch, events }, held, { ...limits, worksInline: false });
  }

  async function dispatchWindow(request: DispatchRequest): Promise<Receipt> {
    const prepared = preparation.tick(request);
    const schedule = schedules.get(request.schedule);
    const canSend = config.useInngest.enabled;
    const isForced = inline.isForced();
    if (!isForced && !canSend && !inline.isOn()) {
      return record.receipt(prepared, "not-configured", false, {
        reason: `Inngest is off (${config.useInngest.because}) and no inline switch is on.`,
      });
    }
    const isLimited = request.onlyIfDue === true && canSend && !isForced;
    const dispatch = isLimited
      ? await limitToDue(prepared, { record, schedule, ...judgement })
      : prepared;
    if (dispatch === "idle") return record.receipt(prepared, "idle", true);
    const problem = canSend && !isForced ? undefined : findInlineProblem(schedule);
    if (problem !== undefined) {
      return record.receipt(prepared, "not-configured", false, { reason: problem });
    }
    const held = await claim(dispatch);
    const declined = record.declined(dispatch, held);
    if (declined !== undefined) return declined;
    if (isForced) return inline.work(dispatch, held, "inline-forced");
    if (!canSend) return inline.work(dispatch, held, "inline-emergency-fallback");
    return send(dispatch, held, { worksInline: true });
  }

  return {
    dispatch: async (request) => {
      const receipt = await dispatchWindow(request);
      const handshake = config.useInngest.enabled ? await watch?.failing() : undefined;
      return handshake === undefined ? receipt : { ...receipt, handshake };
    },
    catchUp: async (request, limits = {}) => sendOnly(preparation.tick(request), limits),
    nudge: async (request) => sendOnly(preparation.nudge(request)),
    repair: async (repair, limits) => {
      const dispatch = preparation.repair(repair);
      const { claimCount } = repair.window;
      const held = { outcome: "claimed", fence: repair.fence, claimCount } as const;
      const reason = whyHeld() ?? findMissing(dispatch, repair);
      if (reason !== undefined) return record.failed(dispatch, held, new Error(reason));
      return send(dispatch, held, { ...limits, worksInline: false });
    },
    whyHeld,
  };
}

/** What works for a tick inside its request, within the times of a dispatch. */
function openInline(
  { config, runInline, inlineDeadlineMs = 50_000 }: DispatcherOptions,
  {
    ledgerTimeoutMs: graceMs,
    ...parts
  }: Pick<
    InlineFallbackOptions,
    "record" | "lane" | "leaseMs" | "sendTimeoutMs" | "clock" | "logger"
  > & {
    readonly ledgerTimeoutMs: number;
  },
): InlineFallback {
  const budgetMs = Math.max(1, parts.leaseMs - parts.sendTimeoutMs - graceMs);
  return new InlineFallback({
    ...parts,
    config,
    runInline,
    budgetMs,
    deadlineMs: inlineDeadlineMs,
    graceMs,
  });
}

/** Returns what a repair lacks of the work of its window: upkeep may be missing, whose next is not far. */
function findMissing({ events }: PreparedDispatch, { window }: WindowRepair): string | undefined {
  const names = new Set<string>([maintenanceRequested.name, ...events.map(({ name }) => name)]);
  const isComplete = events.length > 0 && window.events.every((name) => names.has(name));
  return isComplete ? undefined : `This host does not know what schedule ${window.schedule} sends.`;
}
