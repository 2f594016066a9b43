import { defined, describeMessage, withDeadline, type Lane, type Logger } from "@evenkeel/core";
import { maintenanceRequested } from "@evenkeel/events";
import {
  isUnreachable,
  redactError,
  type ClaimOutcome,
  type Ledger,
  type SendNote,
} from "@evenkeel/ledger";

import { DispatchError } from "../dispatch-error.ts";
import type { HandshakeWatch } from "../handshake/handshake-watch.ts";
import { scopeOf } from "../schedule/dispatch-key.ts";
import type { PreparedDispatch } from "./prepared-dispatch.ts";
import type { DispatchMode, Receipt } from "./receipt.ts";

/** A claim's outcome; `untracked`: the ledger is unavailable, or there is none. */
export type Claim = ClaimOutcome | { readonly outcome: "untracked" };

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

  /** Claims the window; `untracked` when the ledger is unavailable. */
  async claim(
    { request, window, dispatchKey, correlationId }: PreparedDispatch,
    skipOnOverlap: boolean,
  ): Promise<Claim> {
    const { lane, owner, leaseMs } = this.#options;
    const { schedule, tenantId, params } = request;
    const outcome = await this.#ask("claim", (windows) =>
      windows.claim({
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
        leaseMs,
      }),
    );
    if (outcome?.handshake !== undefined) this.#options.watch?.observe(outcome.handshake);
    return outcome ?? { outcome: "untracked" };
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
    const level = mode === "dispatch-failed" || mode === "not-configured" ? "warn" : "info";
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

  /** A maintenance event is the handshake. */
  #noteOf({ events }: PreparedDispatch): SendNote {
    return events.some(({ name }) => name === maintenanceRequested.name)
      ? { handshakeBuild: this.#options.watch?.build ?? "" }
      : {};
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

/** Returns one line of at most 500 characters without secrets, for records and receipts. */
export function describeFailure(error: unknown): string {
  if (error instanceof DispatchError) return error.message;
  return redactError(describeMessage(error)).slice(0, 500);
}
