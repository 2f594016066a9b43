import { defined, type Lane, type Logger } from "@evenkeel/core";

import { isBefore, type BackgroundConfig } from "../background-config.ts";
import { nudgeWindowSeconds } from "../schedule/dispatch-window.ts";
import { describeFailure, type Claim, type DispatchRecord } from "./dispatch-record.ts";
import type { PreparedDispatch } from "./prepared-dispatch.ts";
import type { Receipt } from "./receipt.ts";

/** What inline work is told. It must end within its budget. */
export interface InlineRequest {
  readonly dispatchKey: string;
  readonly schedule: string;
  readonly tenantId?: string;
  readonly lane: Lane;
  /** Milliseconds that the work may take: it is done and recorded while the claim still holds. */
  readonly budgetMs: number;
}

/** Does a window's work inside this process, and returns what the receipt shows as `inline`. */
export type RunInline = (request: InlineRequest) => Promise<unknown>;

/** What {@link InlineFallback} works with. */
export interface InlineFallbackOptions {
  readonly record: DispatchRecord;
  /** Absent: this host does no inline work. */
  readonly runInline: RunInline | undefined;
  readonly config: Pick<BackgroundConfig, "forceInlineUntil" | "inlineFallbackUntil">;
  readonly lane: Lane;
  readonly budgetMs: number;
  readonly clock: { now(): Date };
  readonly logger: Logger;
}

/** Inline work behind the operator's two switches: forced, or as an emergency fallback of a failed send. */
export class InlineFallback {
  readonly #options: InlineFallbackOptions;

  constructor(options: InlineFallbackOptions) {
    this.#options = options;
  }

  /** Whether the emergency switch is on at this moment, on a host that can work inline. */
  isOn(): boolean {
    const { runInline, config, clock } = this.#options;
    return runInline !== undefined && isBefore(clock.now(), config.inlineFallbackUntil);
  }

  /** Whether the operator's rollback is on at this moment: work is inline, and nothing is sent. */
  isForced(): boolean {
    const { config, clock } = this.#options;
    return isBefore(clock.now(), config.forceInlineUntil);
  }

  /** Works inline. It needs a claim: without one, nothing keeps two hosts from doing the same work. */
  async work(
    dispatch: PreparedDispatch,
    claim: Claim,
    mode: "inline-forced" | "inline-emergency-fallback",
  ): Promise<Receipt> {
    const { record, runInline, lane, budgetMs } = this.#options;
    if (runInline === undefined) {
      const error = new Error("Inline work is asked for and this host has none.");
      return record.failed(dispatch, claim, error);
    }
    if (claim.outcome !== "claimed") {
      const error = new Error("Inline work needs the ledger, which is unavailable.");
      return record.failed(dispatch, claim, error);
    }
    const { dispatchKey, request } = dispatch;
    const { schedule, tenantId } = request;
    let report: unknown;
    try {
      report = await runInline({ dispatchKey, schedule, ...defined({ tenantId }), lane, budgetMs });
    } catch (error) {
      return record.failed(dispatch, claim, error);
    }
    return record.inlined(dispatch, claim.fence, mode, report);
  }

  /** After a failed send: works inline while the emergency switch is on, else records the failure. */
  async afterFailedSend(
    dispatch: PreparedDispatch,
    claim: Claim,
    error: unknown,
  ): Promise<Receipt> {
    const { record, logger } = this.#options;
    // A nudge is a hint: its job waits for the next tick.
    if (!this.isOn() || dispatch.window.seconds === nudgeWindowSeconds) {
      return record.failed(dispatch, claim, error);
    }
    const { dispatchKey } = dispatch;
    logger.warn("dispatch.send_failed", { dispatchKey, error: describeFailure(error) });
    return this.work(dispatch, claim, "inline-emergency-fallback");
  }
}
