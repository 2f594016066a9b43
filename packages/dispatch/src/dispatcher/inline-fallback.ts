import { defined, describeMessage, withDeadline, type Lane, type Logger } from "@evenkeel/core";

import { isBefore, type BackgroundConfig } from "../background-config.ts";
import { describeFailure, type Claim, type DispatchRecord } from "./dispatch-record.ts";
import { HeldClaim } from "./held-claim.ts";
import type { PreparedDispatch } from "./prepared-dispatch.ts";
import type { Receipt } from "./receipt.ts";

/** What inline work is told. */
export interface InlineRequest {
  readonly dispatchKey: string;
  readonly schedule: string;
  readonly tenantId?: string;
  readonly lane: Lane;
  /** For how long jobs may start, in milliseconds from the call. */
  readonly budgetMs: number;
  /** By when all work has ended, in milliseconds from the call. */
  readonly deadlineMs: number;
  /** Fires when the claim is lost, and shortly after the deadline: what still runs must stop. */
  readonly signal: AbortSignal;
}

/** Does a window's work inside this process, and returns what the receipt shows as `inline`. */
export type RunInline = (request: InlineRequest) => Promise<unknown>;

/** Which switch inline work stands on. */
export type InlineMode = "inline-forced" | "inline-emergency-fallback";

/** What {@link InlineFallback} works with. */
export interface InlineFallbackOptions {
  readonly record: DispatchRecord;
  /** Absent: this host does no inline work. */
  readonly runInline: RunInline | undefined;
  readonly config: Pick<BackgroundConfig, "forceInlineUntil" | "inlineFallbackUntil">;
  readonly lane: Lane;
  readonly leaseMs: number;
  /** For how long jobs may start. */
  readonly budgetMs: number;
  /** By when work has ended; a send that fails takes its time-out from that. */
  readonly deadlineMs: number;
  readonly sendTimeoutMs: number;
  /** How long after its deadline work is waited for. */
  readonly graceMs: number;
  readonly clock: { now(): Date };
  readonly logger: Logger;
}

/** How inline work ended. */
type InlineEnd = { readonly report: unknown } | { readonly error: unknown };

/**
 * Inline work behind the operator's two switches: forced, or as an emergency fallback of a failed send. It ends by its
 * deadline and with its switch, and holds its claim until it has ended: no other tick works for its window meanwhile.
 */
export class InlineFallback {
  readonly #options: InlineFallbackOptions;
  /** Work of this host that runs past its deadline. Nothing starts beside it. */
  #overdue = 0;

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
  async work(dispatch: PreparedDispatch, claim: Claim, mode: InlineMode): Promise<Receipt> {
    const { record, runInline, leaseMs, graceMs, logger } = this.#options;
    const refuse = (why: string): Promise<Receipt> =>
      record.failed(dispatch, claim, new Error(why));
    if (runInline === undefined) return refuse("Inline work is asked for and this host has none.");
    if (claim.outcome !== "claimed") {
      return refuse("Inline work needs the ledger, which is unavailable.");
    }
    if (this.#overdue > 0) {
      return refuse("Inline work of an earlier tick still runs on this host, past its deadline.");
    }
    const { dispatchKey } = dispatch;
    const held = new HeldClaim({
      renew: () => record.renew(dispatchKey, claim.fence),
      leaseMs,
      onLost: () => logger.error("dispatch.inline_claim_lost", { dispatchKey }),
    });
    // The send before it may have taken as long as the lease.
    if (!(await held.begin())) return refuse("The claim was lost before inline work began.");
    const { budgetMs, deadlineMs } = this.#limitsOf(mode);
    const overdue = setTimeout(
      () => held.stop("Inline work ran past its deadline."),
      deadlineMs + graceMs / 2,
    );
    const end = this.#run(dispatch, runInline, {
      budgetMs,
      deadlineMs,
      signal: held.signal,
    }).finally(() => {
      clearTimeout(overdue);
      held.end();
    });
    const settle = (ended: InlineEnd): Promise<Receipt> =>
      "error" in ended
        ? record.failed(dispatch, claim, ended.error)
        : record.inlined(dispatch, claim.fence, mode, ended.report);
    try {
      return await settle(await withDeadline(deadlineMs + graceMs, () => end));
    } catch (error) {
      this.#overdue += 1;
      void end.then(async (ended) => {
        this.#overdue -= 1;
        await settle(ended);
      });
      logger.error("dispatch.inline_overdue", { dispatchKey, error: describeMessage(error) });
      const reason = "Inline work runs past its deadline; its window stays claimed until it ends.";
      return record.receipt(dispatch, "dispatch-failed", false, { reason });
    }
  }

  /** After a failed send: works inline while the emergency switch is on, else records the failure. */
  async afterFailedSend(
    dispatch: PreparedDispatch,
    claim: Claim,
    error: unknown,
  ): Promise<Receipt> {
    const { record, logger } = this.#options;
    if (!this.isOn()) return record.failed(dispatch, claim, error);
    const { dispatchKey } = dispatch;
    logger.warn("dispatch.send_failed", { dispatchKey, error: describeFailure(error) });
    return this.work(dispatch, claim, "inline-emergency-fallback");
  }

  /** The end of the switch is the end of the work. */
  #limitsOf(mode: InlineMode): Pick<InlineRequest, "budgetMs" | "deadlineMs"> {
    const { config, clock, sendTimeoutMs, ...options } = this.#options;
    const isForced = mode === "inline-forced";
    const until = isForced ? config.forceInlineUntil : config.inlineFallbackUntil;
    const leftMs = (until?.getTime() ?? 0) - clock.now().getTime();
    const usualMs = isForced
      ? options.deadlineMs
      : Math.max(options.deadlineMs / 2, options.deadlineMs - sendTimeoutMs);
    const deadlineMs = Math.max(1, Math.min(usualMs, leftMs));
    return { budgetMs: Math.min(options.budgetMs, deadlineMs), deadlineMs };
  }

  /** Never rejects. */
  async #run(
    { dispatchKey, request }: PreparedDispatch,
    runInline: RunInline,
    limits: Pick<InlineRequest, "budgetMs" | "deadlineMs" | "signal">,
  ): Promise<InlineEnd> {
    const { lane } = this.#options;
    const { schedule, tenantId } = request;
    try {
      return {
        report: await runInline({
          dispatchKey,
          schedule,
          ...defined({ tenantId }),
          lane,
          ...limits,
        }),
      };
    } catch (error) {
      return { error };
    }
  }
}
