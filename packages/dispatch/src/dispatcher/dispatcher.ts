import { randomUUID } from "node:crypto";

import {
  describeMessage,
  encodePayload,
  silentLogger,
  withDeadline,
  type JsonValue,
  type Lane,
  type Logger,
} from "@evenkeel/core";
import {
  maintenanceRequested,
  parseEvent,
  processRequested,
  type DispatchEventData,
} from "@evenkeel/events";
import {
  isUnreachable,
  redactError,
  type ClaimOutcome,
  type Ledger,
  type WindowRepair,
} from "@evenkeel/ledger";

import type { BackgroundConfig } from "../background-config.ts";
import { DispatchError } from "../dispatch-error.ts";
import { formatDispatchKey, formatEventId, scopeOf } from "../schedule/dispatch-key.ts";
import {
  computeWindow,
  nudgeWindowSeconds,
  type DispatchWindow,
} from "../schedule/dispatch-window.ts";
import type { DispatchMode, Receipt } from "./receipt.ts";
import type { Schedule } from "../schedule/schedule.ts";

/** An event as it is handed to the sender: the id is deterministic, so sending it again is harmless. */
export interface OutgoingEvent {
  readonly id: string;
  readonly name: string;
  readonly data: DispatchEventData;
}

/** A request for one dispatch: a tick, or an operator. */
export interface DispatchRequest {
  readonly schedule: string;
  /** When the scheduler meant the tick to be; the clock's time if absent. */
  readonly scheduledAt?: Date;
  readonly tenantId?: string;
  readonly params?: Readonly<Record<string, JsonValue>>;
  /** Who asks: `cron`, `manual`, or a product's own word. */
  readonly source: string;
  /** Follows this tick through logs and records; generated if absent. */
  readonly correlationId?: string;
}

/** What inline work is told. It must end within the budget. */
export interface InlineRequest {
  readonly dispatchKey: string;
  readonly schedule: string;
  readonly tenantId?: string;
  readonly lane: Lane;
  readonly budgetMs: number;
}

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
  readonly runInline?: (request: InlineRequest) => Promise<unknown>;
  readonly config: Pick<
    BackgroundConfig,
    "useInngest" | "forceInline" | "inlineFallbackUntil" | "windowSeconds"
  >;
  /**
   * Schedules with windows of their own. One that is not among them has windows of `config.windowSeconds`,
   * in any scope.
   */
  readonly schedules?: readonly Schedule[];
  /** Part of every event id: `production`, `staging`. */
  readonly environment: string;
  /** Names this host in the ledger. */
  readonly owner: string;
  /** The cohort of this dispatcher's work, `stable` by default. */
  readonly lane?: Lane;
  readonly clock?: { now(): Date };
  readonly logger?: Logger;
  /** How long a claim is good for, 30 s by default: longer than send and ledger time-outs together. */
  readonly leaseMs?: number;
  /** How long a send may take, 10 s by default. */
  readonly sendTimeoutMs?: number;
  /** How long the ledger may take to answer before it counts as away, 5 s by default. */
  readonly ledgerTimeoutMs?: number;
}

/** Dispatches windows. */
export interface Dispatcher {
  /**
   * Claims the request's window, sends its events and records the outcome; the answer says what became of
   * it. Only a malformed request throws.
   *
   * @throws DispatchError `invalid_schedule`, `invalid_window` or `invalid_params`; InputError
   * `invalid_tenant`, `invalid_payload` or `payload_too_large`, with nothing claimed or sent.
   */
  dispatch(request: DispatchRequest): Promise<Receipt>;
  /**
   * Dispatches this very second, as a window of its own: see `createNudge`. It sends the process event alone, and
   * never works inline.
   *
   * @throws As {@link dispatch} does.
   */
  nudge(request: Omit<DispatchRequest, "scheduledAt">): Promise<Receipt>;
  /**
   * Sends a window's events again, for a repair that the ledger has claimed, and records the outcome under
   * the repair's fence. After a run that fell silent, or when a run never started although
   * it was sent again, the ids are new: Inngest remembers the first ones, and the guard sees to it that one
   * run works.
   */
  repair(repair: WindowRepair): Promise<Receipt>;
}

/** One dispatch on its way. */
interface Dispatch {
  readonly request: DispatchRequest;
  readonly window: DispatchWindow;
  readonly dispatchKey: string;
  readonly correlationId: string;
  readonly events: readonly OutgoingEvent[];
}

/** A claim, or the news that the ledger is not there to ask. */
type Claim = ClaimOutcome | { readonly outcome: "untracked" };

type ReceiptDetails = Partial<Pick<Receipt, "duplicateOf" | "reason" | "inline">>;

/**
 * Creates a dispatcher.
 *
 * @example
 * const dispatcher = createDispatcher({ ledger, send, config, environment: "production", owner });
 * const receipt = await dispatcher.dispatch({ schedule: "background-jobs", source: "cron" });
 */
export function createDispatcher(options: DispatcherOptions): Dispatcher {
  const { ledger, config, environment } = options;
  const schedules = new Map((options.schedules ?? []).map((schedule) => [schedule.id, schedule]));
  const lane = options.lane ?? "stable";
  const clock = options.clock ?? { now: () => new Date() };
  const logger = options.logger ?? silentLogger;
  const leaseMs = options.leaseMs ?? 30_000;
  const sendTimeoutMs = options.sendTimeoutMs ?? 10_000;
  const ledgerTimeoutMs = options.ledgerTimeoutMs ?? 5_000;

  function prepare(
    request: DispatchRequest,
    window: DispatchWindow,
    workLane: Lane = lane,
    idSuffix = "",
  ): Dispatch {
    const now = clock.now();
    const { schedule, tenantId, params } = request;
    const dispatchKey = formatDispatchKey({
      schedule,
      window,
      ...(tenantId === undefined ? {} : { tenantId }),
      ...(params === undefined ? {} : { params }),
    });
    const correlationId = request.correlationId ?? randomUUID();
    const contracts =
      window.seconds === nudgeWindowSeconds
        ? [processRequested]
        : [processRequested, maintenanceRequested];
    const events = contracts.map((contract) => {
      const { name, version: schemaVersion } = contract;
      const data = parseEvent(contract, {
        source: request.source,
        requestedAt: now.toISOString(),
        dispatchKey,
        correlationId,
        dispatchWindowStart: window.start.toISOString(),
        dispatchWindowSeconds: window.seconds,
        schemaVersion,
        lane: workLane,
        schedule,
        ...(tenantId === undefined ? {} : { tenantId }),
        ...(params === undefined ? {} : { params }),
      });
      encodePayload(data, `event ${name}`);
      const id = formatEventId({ name, schemaVersion, environment, dispatchKey });
      return { id: `${id}${idSuffix}`, name, data };
    });
    return { request, window, dispatchKey, correlationId, events };
  }

  /** Asks the ledger; one that cannot answer is logged and counts as away. */
  async function askLedger<T>(
    what: string,
    ask: (known: WindowLedger) => Promise<T>,
  ): Promise<T | undefined> {
    if (ledger === undefined) return undefined;
    try {
      return await withDeadline(ledgerTimeoutMs, () => ask(ledger.windows));
    } catch (error) {
      logger.error("dispatch.ledger_unavailable", {
        during: what,
        unreachable: isUnreachable(error),
        error: messageOf(error),
      });
      return undefined;
    }
  }

  function prepareRepair({ reason, window }: WindowRepair): Dispatch {
    const { schedule, windowStart, windowSeconds, tenantId, params, correlationId } = window;
    const isForgotten = reason === "never_started" && window.repairCount > 1;
    const needsNewIds = reason === "stale" || isForgotten;
    return prepare(
      {
        schedule,
        source: "reconciler",
        correlationId,
        ...(tenantId === null ? {} : { tenantId }),
        ...(params === null ? {} : { params }),
      },
      { start: windowStart, seconds: windowSeconds },
      window.lane,
      needsNewIds ? `:r${window.repairCount}` : "",
    );
  }

  async function claim({ request, window, dispatchKey, correlationId }: Dispatch): Promise<Claim> {
    const outcome = await askLedger("claim", (windows) =>
      windows.claim({
        dispatchKey,
        schedule: request.schedule,
        scope: scopeOf(request.tenantId),
        ...(request.tenantId === undefined ? {} : { tenantId: request.tenantId }),
        ...(request.params === undefined ? {} : { params: request.params }),
        windowStart: window.start,
        windowSeconds: window.seconds,
        skipOnOverlap: schedules.get(request.schedule)?.overlap === "skip",
        lane,
        owner: options.owner,
        correlationId,
        leaseMs,
      }),
    );
    return outcome ?? { outcome: "untracked" };
  }

  function isFallbackOn(): boolean {
    const until = config.inlineFallbackUntil;
    return (
      options.runInline !== undefined &&
      until !== undefined &&
      clock.now().getTime() < until.getTime()
    );
  }

  function receipt(
    dispatch: Dispatch,
    mode: DispatchMode,
    tracking: boolean,
    details: ReceiptDetails = {},
  ): Receipt {
    const result: Receipt = {
      mode,
      schedule: dispatch.request.schedule,
      dispatchKey: dispatch.dispatchKey,
      windowStart: dispatch.window.start.toISOString(),
      windowSeconds: dispatch.window.seconds,
      lane,
      correlationId: dispatch.correlationId,
      tracking,
      eventIds: mode === "dispatch-only" ? dispatch.events.map(({ id }) => id) : [],
      ...details,
    };
    const level = mode === "dispatch-failed" || mode === "not-configured" ? "warn" : "info";
    logger[level](`dispatch.${mode}`, {
      schedule: result.schedule,
      dispatchKey: result.dispatchKey,
      correlationId: result.correlationId,
      tracking,
      ...(details.reason === undefined ? {} : { reason: details.reason }),
    });
    return result;
  }

  async function fail(dispatch: Dispatch, held: Claim, error: unknown): Promise<Receipt> {
    const reason = messageOf(error);
    const recorded =
      held.outcome === "claimed" &&
      (await askLedger("markFailed", (windows) =>
        windows.markFailed(dispatch.dispatchKey, held.fence, reason),
      ));
    return receipt(dispatch, "dispatch-failed", recorded === true, { reason });
  }

  /** Inline work needs the claim: without one, nothing keeps two hosts from doing it. */
  async function workInline(
    dispatch: Dispatch,
    held: Claim,
    mode: "inline-forced" | "inline-emergency-fallback",
  ): Promise<Receipt> {
    const { runInline } = options;
    if (runInline === undefined) {
      return fail(dispatch, held, new Error("Inline work is asked for and this host has none."));
    }
    if (held.outcome !== "claimed") {
      return fail(
        dispatch,
        held,
        new Error("Inline work needs the ledger, which does not answer."),
      );
    }
    const { dispatchKey, request } = dispatch;
    let report: unknown;
    try {
      report = await runInline({
        dispatchKey,
        schedule: request.schedule,
        ...(request.tenantId === undefined ? {} : { tenantId: request.tenantId }),
        lane,
        // Done and recorded while the claim still holds.
        budgetMs: Math.max(1, leaseMs - sendTimeoutMs - ledgerTimeoutMs),
      });
    } catch (error) {
      return fail(dispatch, held, error);
    }
    const recorded = await askLedger("markInline", (windows) =>
      windows.markInline(dispatchKey, held.fence),
    );
    return receipt(dispatch, mode, recorded === true, { inline: report });
  }

  async function send(dispatch: Dispatch, held: Claim): Promise<Receipt> {
    try {
      await withDeadline(sendTimeoutMs, (signal) => options.send(dispatch.events, { signal }));
    } catch (error) {
      return fallBack(dispatch, held, error);
    }
    if (held.outcome !== "claimed") return receipt(dispatch, "dispatch-only", false);
    const recorded = await askLedger("markEnqueued", (windows) =>
      windows.markEnqueued(dispatch.dispatchKey, held.fence),
    );
    return receipt(dispatch, "dispatch-only", recorded === true);
  }

  /** What is left when a send failed: the operator's emergency switch, or a failure on record. */
  async function fallBack(dispatch: Dispatch, held: Claim, error: unknown): Promise<Receipt> {
    // A nudge is a hint, and its job waits for the next tick.
    if (!isFallbackOn() || dispatch.window.seconds === nudgeWindowSeconds) {
      return fail(dispatch, held, error);
    }
    const { dispatchKey } = dispatch;
    logger.warn("dispatch.send_failed", { dispatchKey, error: messageOf(error) });
    return workInline(dispatch, held, "inline-emergency-fallback");
  }

  /** The receipt of a claim that was not had. */
  function decline(dispatch: Dispatch, held: Claim): Receipt | undefined {
    switch (held.outcome) {
      case "paused":
        return receipt(
          dispatch,
          "paused",
          true,
          held.reason === null ? {} : { reason: held.reason },
        );
      case "overlap":
        return receipt(dispatch, "skipped-overlap", true, {
          reason: "A run of an earlier window is under way.",
        });
      case "duplicate": {
        const { status, correlationId } = held.window;
        return receipt(dispatch, "dispatch-duplicate-suppressed", true, {
          duplicateOf: { status, correlationId },
        });
      }
      case "claimed":
      case "untracked":
        return undefined;
    }
  }

  return {
    dispatch: async (request) => {
      const at = request.scheduledAt ?? clock.now();
      const schedule = schedules.get(request.schedule);
      checkScope(schedule, request);
      const dispatch = prepare(
        request,
        schedule?.windowAt(at) ?? computeWindow(at, config.windowSeconds),
      );
      const canSend = config.useInngest.enabled;
      if (!config.forceInline && !canSend && !isFallbackOn()) {
        return receipt(dispatch, "not-configured", false, {
          reason: `Inngest is off (${config.useInngest.because}) and no inline switch is on.`,
        });
      }
      const held = await claim(dispatch);
      const declined = decline(dispatch, held);
      if (declined !== undefined) return declined;
      if (config.forceInline) return workInline(dispatch, held, "inline-forced");
      if (!canSend) return workInline(dispatch, held, "inline-emergency-fallback");
      return send(dispatch, held);
    },
    nudge: async (request) => {
      checkScope(schedules.get(request.schedule), request);
      const dispatch = prepare(request, computeWindow(clock.now(), nudgeWindowSeconds));
      if (config.forceInline || !config.useInngest.enabled) {
        const reason = config.forceInline
          ? "Work is forced inline, which only a tick does."
          : `Inngest is off (${config.useInngest.because}).`;
        return receipt(dispatch, "not-configured", false, { reason });
      }
      const held = await claim(dispatch);
      const declined = decline(dispatch, held);
      if (declined !== undefined) return declined;
      return send(dispatch, held);
    },
    repair: async (repair) => {
      const dispatch = prepareRepair(repair);
      const { claimCount } = repair.window;
      const held = { outcome: "claimed", fence: repair.fence, claimCount } as const;
      return send(dispatch, held);
    },
  };
}

/** @throws DispatchError `invalid_scope` or `invalid_params`, for a schedule with settings of its own. */
function checkScope(schedule: Schedule | undefined, { tenantId, params }: DispatchRequest): void {
  if (schedule === undefined) return;
  const { id, scope } = schedule;
  if ((scope === "tenant") !== (tenantId !== undefined)) {
    const problem = scope === "tenant" ? "needs a tenant" : "takes no tenant";
    throw new DispatchError("invalid_scope", `Schedule ${id} ${problem}.`, { id, scope });
  }
  const unknown = Object.keys(params ?? {}).find((name) => !schedule.params.includes(name));
  if (unknown === undefined) return;
  throw new DispatchError("invalid_params", `Schedule ${id} takes no parameter of this name.`, {
    id,
  });
}

type WindowLedger = Ledger["windows"];

function messageOf(error: unknown): string {
  if (error instanceof DispatchError) return error.message;
  return redactError(describeMessage(error)).slice(0, 500);
}
