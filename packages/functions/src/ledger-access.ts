import type { Logger } from "@evenkeel/events";
import { redactError } from "@evenkeel/ledger";

/** What {@link LedgerAccess} works with. */
export interface LedgerAccessOptions {
  readonly logger: Logger;
  /** How long one statement may take, in milliseconds. */
  readonly timeoutMs: number;
  /** How long the ledger is left alone after a failure, in milliseconds. */
  readonly restMs: number;
}

/**
 * Calls that must never hurt the work they describe: each is bounded in time, a failure is logged and
 * answered with `undefined`, and after one the ledger is not asked for a while.
 */
export class LedgerAccess {
  readonly #options: LedgerAccessOptions;
  #restsUntilMs = 0;

  constructor(options: LedgerAccessOptions) {
    this.#options = options;
  }

  /** The call's answer; `undefined` when it failed, took too long, or was not made. */
  async attempt<T>(what: string, call: () => Promise<T>): Promise<T | undefined> {
    const { logger, timeoutMs, restMs } = this.#options;
    if (performance.now() < this.#restsUntilMs) return undefined;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`No answer within ${timeoutMs} ms.`)), timeoutMs);
    });
    try {
      return await Promise.race([call(), late]);
    } catch (error) {
      this.#restsUntilMs = performance.now() + restMs;
      const message = error instanceof Error ? error.message : String(error);
      logger.warn("runs.not_recorded", { during: what, restMs, error: redactError(message) });
      return undefined;
    } finally {
      clearTimeout(timer);
    }
  }
}
