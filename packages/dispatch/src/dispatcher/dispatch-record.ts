import {
  defined,
  describeMessage,
  EvenkeelError,
  withDeadline,
  type Lane,
  type Logger,
} from "@evenkeel/core";
import { maintenanceRequested } from "@evenkeel/events";
import {
  isNotReady,
  isUnreachable,
  LedgerError,
  redactError,
  type ClaimOutcome,
  type Ledger,
  type SendNote,
  type TickOutlook,
  type TickRequest,
  type TransactionClient,
} from "@evenkeel/ledger";

import { DispatchError } from "../dispatch-error.ts";
import type { HandshakeWatch } from "../handshake/handshake-watch.ts";
import { scopeOf } from "../schedule/dispatch-key.ts";
import type { PreparedDispatch } from "./prepared-dispatch.ts";
import type { DispatchMode, Receipt } from "./receipt.ts";
import type { StartedWork } from "./window-start.ts";

/**
 * A claim's outcome. `untracked`: the ledger is unavailable, or there is none. `unstarted`: so it is, and the job that the
 * window starts would have been written with the claim. `not-ready`: the ledger responds, and its tables are missing, of
 * a schema that this build cannot use, not granted, or another environment's.
 */
export type Claim =
  | ClaimOutcome
  | { readonly outcome: "untracked" | "unstarted" }
  | { readonly outcome: "not-ready"; readonly reason: string };

/** What a receipt says beyond the dispatch itself. */
export type ReceiptDetails = Partial<Pick<Receipt, "duplicateOf" | "reason" | "inline">>;

/** What {@link DispatchRecord} works with. */
export interface DispatchRecordOptions {
  /** Absent: nothing is recorded. */
  readonly ledger: Pick<Ledger, "windows"> | undefined;
  readonly lane: Lane;
  readonly owner: string;
  readonly logger: Logger;
  readonly leaseMs: number;
  readonly ledgerTimeoutMs: number;
  /** Hears where the handshake stands, and of writes that the ledger refused; absent: nobody watches. */
  readonly watch?: HandshakeWatch | undefined;
}

/**
 * What the ledger and the receipts say of dispatches: claims their windows, records their outcomes under
 * the claim's fence, and words their receipts. A ledger that does not respond in time is logged and never
 * fails a dispatch.
 */
export class DispatchRecord {
  readonly #options: DispatchRecordOptions;

  constructor(options: DispatchRecordOptions) {
    this.#options = options;
  }

  /** Looks at what the tick has to do; `undefined` when the ledger is unavailable. */
  async look(
    { request, window, dispatchKey }: PreparedDispatch,
    judgement: Pick<
      TickRequest,
      "mayBeIdle" | "skipOnOverlap" | "neverStartedAfterMs" | "staleAfterMs"
    >,
  ): Promise<TickOutlook | undefined> {
    const { schedule, tenantId } = request;
    const { lane, watch } = this.#options;
    const outlook = await this.#ask("look", (windows) =>
      windows.look({
        ...judgement,
        lane,
        dispatchKey,
        schedule,
        scope: scopeOf(tenantId),
        windowStart: window.start,
        windowSeconds: window.seconds,
      }),
    );
    if (outlook !== undefined) watch?.observe(outlook.handshake);
    return outlook;
  }

  /**
   * Claims the window, and enqueues with it what it starts; `untracked` or `unstarted` when the ledger is unavailable,
   * `not-ready` when it refuses this host.
   *
   * @throws InputError or JobError of the job that it starts; nothing is claimed then.
   */
  async claim(
    { request, window, dispatchKey, correlationId, events }: PreparedDispatch,
    skipOnOverlap: boolean,
    started?: StartedWork,
  ): Promise<Claim> {
    const { lane, owner, leaseMs } = this.#options;
    const { schedule, tenantId, params } = request;
    const claim = {
      dispatchKey,
      schedule,
      scope: scopeOf(tenantId),
      ...defined({ tenantId, params }),
      windowStart: window.start,
      windowSeconds: window.seconds,
      skipOnOverlap,
      lane,
      owner,
      correlationId,
      events: events.map(({ name }) => name),
      leaseMs,
      ...defined({ started: started?.job }),
    };
    let refusal: unknown;
    const start = async (tx: TransactionClient): Promise<void> => {
      try {
        await started?.enqueue(tx);
      } catch (error) {
        if (error instanceof EvenkeelError && !(error instanceof LedgerError)) refusal = error;
        throw error;
      }
    };
    const ask = async (windows: Ledger["windows"]): Promise<Claim> => {
      try {
        const claimed = await (started === undefined
          ? windows.claim(claim)
          : windows.claimAndStart(claim, start));
        if (claimed.handshake !== undefined) this.#options.watch?.observe(claimed.handshake);
        return claimed;
      } catch (error) {
        // What is sent now would count as dispatched, and its runs would fail for the same cause.
        if (isNotReady(error)) return { outcome: "not-ready", reason: describeFailure(error) };
        throw error;
      }
    };
    const outcome = await this.#ask("claim", ask);
    // What the product's own payload does not hold up to is no fault of the ledger's.
    if (refusal !== undefined) throw refusal;
    return outcome ?? { outcome: started === undefined ? "untracked" : "unstarted" };
  }

  /** Records that the events were sent. */
  async enqueued(dispatch: PreparedDispatch, claim: Claim): Promise<Receipt> {
    const { dispatchKey } = dispatch;
    const isRecorded =
      claim.outcome === "claimed" &&
      (await this.#ask("markEnqueued", (windows) =>
        windows.markEnqueued(dispatchKey, claim.fence, this.#noteOf(dispatch)),
      ));
    return this.receipt(dispatch, "dispatch-only", isRecorded === true);
  }

  /** Holds a claim for another lease. `false`: it is another's; `undefined`: the ledger is unavailable. */
  renew(dispatchKey: string, fence: string): Promise<boolean | undefined> {
    const { leaseMs } = this.#options;
    return this.#ask("renew", (windows) => windows.renew(dispatchKey, fence, leaseMs));
  }

  /** Whether no maintenance has begun for so long; `false` when the ledger is unavailable. */
  async isMaintenanceOverdue(afterMs: number): Promise<boolean> {
    const isOverdue = await this.#ask("isMaintenanceOverdue", (windows) =>
      windows.isMaintenanceOverdue(afterMs),
    );
    return isOverdue === true;
  }

  /** Records that the work was done inline. */
  async inlined(
    dispatch: PreparedDispatch,
    fence: string,
    mode: "inline-forced" | "inline-emergency-fallback",
    report: unknown,
  ): Promise<Receipt> {
    const isRecorded = await this.#ask("markInline", (windows) =>
      windows.markInline(dispatch.dispatchKey, fence),
    );
    return this.receipt(dispatch, mode, isRecorded === true, { inline: report });
  }

  /** Records that neither a send nor inline work succeeded: the next tick may claim the window at once. */
  async failed(dispatch: PreparedDispatch, claim: Claim, error: unknown): Promise<Receipt> {
    const reason = describeFailure(error);
    const isRecorded =
      claim.outcome === "claimed" &&
      (await this.#ask("markFailed", (windows) =>
        windows.markFailed(dispatch.dispatchKey, claim.fence, reason, this.#noteOf(dispatch)),
      ));
    return this.receipt(dispatch, "dispatch-failed", isRecorded === true, { reason });
  }

  /** Returns the receipt of a claim that gives nothing to do; `undefined` for one that does. */
  declined(dispatch: PreparedDispatch, claim: Claim): Receipt | undefined {
    switch (claim.outcome) {
      case "paused":
        return this.receipt(
          dispatch,
          "paused",
          true,
          defined({ reason: claim.reason ?? undefined }),
        );
      case "not-ready":
        return this.receipt(dispatch, "ledger-not-ready", false, { reason: claim.reason });
      case "overlap":
        return this.receipt(dispatch, "skipped-overlap", true, {
          reason: "A run of an earlier window is under way.",
        });
      case "duplicate": {
        const { status, correlationId } = claim.window;
        return this.receipt(dispatch, "dispatch-duplicate-suppressed", true, {
          duplicateOf: { status, correlationId },
        });
      }
      case "unstarted":
        return this.receipt(dispatch, "dispatch-failed", false, {
          reason: "The ledger is unavailable, and with it the job that the window starts.",
        });
      case "claimed":
      case "untracked":
        return undefined;
    }
  }

  /** Returns a receipt, and logs it as `dispatch.<mode>`. */
  receipt(
    dispatch: PreparedDispatch,
    mode: DispatchMode,
    tracking: boolean,
    details: ReceiptDetails = {},
  ): Receipt {
    const { lane, logger } = this.#options;
    const { request, window, dispatchKey, correlationId, events } = dispatch;
    const { schedule } = request;
    const level = refusals.has(mode) ? "warn" : "info";
    logger[level](`dispatch.${mode}`, {
      schedule,
      dispatchKey,
      correlationId,
      tracking,
      ...defined({ reason: details.reason }),
    });
    return {
      mode,
      schedule,
      dispatchKey,
      windowStart: window.start.toISOString(),
      windowSeconds: window.seconds,
      lane,
      correlationId,
      tracking,
      eventIds: mode === "dispatch-only" ? events.map(({ id }) => id) : [],
      ...details,
    };
  }

  /** The maintenance event of a window is its handshake. One that a nudge brings along has a window of its own. */
  #noteOf({ dispatchKey, events }: PreparedDispatch): SendNote {
    const isHandshake = events.some(
      ({ name, data }) => name === maintenanceRequested.name && data.dispatchKey === dispatchKey,
    );
    return isHandshake ? { handshakeBuild: this.#options.watch?.build ?? "" } : {};
  }

  /** Asks the ledger; one that fails or takes too long is logged and counts as unavailable. */
  async #ask<T>(
    what: string,
    ask: (windows: Ledger["windows"]) => Promise<T>,
  ): Promise<T | undefined> {
    const { ledger, ledgerTimeoutMs, logger } = this.#options;
    if (ledger === undefined) return undefined;
    try {
      return await withDeadline(ledgerTimeoutMs, () => ask(ledger.windows));
    } catch (error) {
      this.#options.watch?.ledgerFailed(error);
      logger.error("dispatch.ledger_unavailable", {
        during: what,
        unreachable: isUnreachable(error),
        error: describeFailure(error),
      });
      return undefined;
    }
  }
}

const refusals: ReadonlySet<DispatchMode> = new Set([
  "dispatch-failed",
  "ledger-not-ready",
  "not-configured",
]);

/** Returns one line of at most 500 characters without secrets, for records and receipts. */
export function describeFailure(error: unknown): string {
  if (error instanceof DispatchError) return error.message;
  return redactError(describeMessage(error)).slice(0, 500);
}
