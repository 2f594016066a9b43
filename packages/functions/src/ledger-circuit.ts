import { describeMessage, withDeadline, type Logger } from "@evenkeel/core";
import { redactError } from "@evenkeel/ledger";

/** What {@link LedgerCircuit} works with. */
export interface LedgerCircuitOptions {
  readonly logger: Logger;
  /** How long one statement may take, in milliseconds. */
  readonly timeoutMs: number;
  /** How long the ledger is left alone after a failure, in milliseconds. */
  readonly cooldownMs: number;
}

/**
 * Calls that must never hurt the work they describe: each is bounded in time, a failure is logged and
 * answered with `undefined`, and after one the ledger is not asked for a while.
 */
export class LedgerCircuit {
  readonly #options: LedgerCircuitOptions;
  #cooldownUntilMs = 0;

  constructor(options: LedgerCircuitOptions) {
    this.#options = options;
  }

  /** The call's answer; `undefined` when it failed, took too long, or was not made. */
  async attempt<T>(what: string, call: () => Promise<T>): Promise<T | undefined> {
    const { logger, timeoutMs, cooldownMs } = this.#options;
    if (performance.now() < this.#cooldownUntilMs) return undefined;
    try {
      return await withDeadline(timeoutMs, call);
    } catch (error) {
      this.#cooldownUntilMs = performance.now() + cooldownMs;
      logger.warn("runs.not_recorded", {
        during: what,
        cooldownMs,
        error: redactError(describeMessage(error)),
      });
      return undefined;
    }
  }
}
