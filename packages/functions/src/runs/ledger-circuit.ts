import {
  describeMessage,
  systemClock,
  withDeadline,
  type Clock,
  type Logger,
} from "@evenkeel/core";
import { isRefusedValue, redactError } from "@evenkeel/ledger";

/** What {@link LedgerCircuit} works with. */
export interface LedgerCircuitOptions {
  readonly logger: Logger;
  /** How long one statement may take before it counts as failed, in milliseconds. */
  readonly timeoutMs: number;
  /** How long the circuit stays open after a failure, in milliseconds. No statement is made meanwhile. */
  readonly cooldownMs: number;
  /** Measures both times; defaults to the process's own clock. */
  readonly clock?: Clock;
}

/**
 * A circuit breaker before the ledger, for records that must never hurt the work they describe. Each call
 * is bounded in time. A failure is logged and opens the circuit for `cooldownMs`; the next call after that
 * is tried again. What Postgres refused for its values is logged and opens nothing: it says nothing of other rows.
 */
export class LedgerCircuit {
  readonly #options: LedgerCircuitOptions;
  readonly #clock: Clock;
  #openUntilMs = Number.NEGATIVE_INFINITY;

  constructor(options: LedgerCircuitOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /** Returns the call's result; `undefined` when it failed, took too long, or the circuit is open. Never rejects. */
  async attempt<T>(what: string, call: () => Promise<T>): Promise<T | undefined> {
    const { logger, timeoutMs, cooldownMs } = this.#options;
    if (this.#clock.now() < this.#openUntilMs) return undefined;
    try {
      return await withDeadline(timeoutMs, call, this.#clock);
    } catch (error) {
      const opens = !isRefusedValue(error);
      if (opens) this.#openUntilMs = this.#clock.now() + cooldownMs;
      logger.warn("runs.not_recorded", {
        during: what,
        cooldownMs: opens ? cooldownMs : 0,
        error: redactError(describeMessage(error)),
      });
      return undefined;
    }
  }
}
