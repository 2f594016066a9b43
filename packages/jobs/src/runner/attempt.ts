import type { Logger, Clock } from "@evenkeel/core";
import type { ClaimedJob, JobEffectStore, TransactionClient } from "@evenkeel/ledger";

import type { JobHandler } from "../definition/job-handler.ts";
import { abortReasons, isAbort } from "./abort-reasons.ts";
import { AttemptEffects } from "./attempt-effects.ts";
import { checkProgress } from "./progress-writer.ts";
import type { AttemptOutcome } from "./settlement-decision.ts";

/** One attempt under way. It ends once, by whichever comes first; what comes later is dropped. */
export class Attempt {
  readonly job: ClaimedJob;
  readonly #controller = new AbortController();
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #onEnd: (outcome: AttemptOutcome | undefined) => void;
  readonly #complete: (tx: TransactionClient, result: unknown) => Promise<void>;
  readonly #effects: JobEffectStore;
  readonly #onProgress: (done: number, total: number) => void;
  #cancelTimeout: (() => void) | undefined;
  #hasEnded = false;

  constructor(deps: {
    readonly job: ClaimedJob;
    readonly clock: Clock;
    readonly logger: Logger;
    /** `undefined`: the job is no longer held, so there is nothing to settle. */
    readonly onEnd: (outcome: AttemptOutcome | undefined) => void;
    /** Settles the job in the handler's transaction. */
    readonly complete: (tx: TransactionClient, result: unknown) => Promise<void>;
    readonly effects: JobEffectStore;
    /** Called only while it runs. */
    readonly onProgress: (done: number, total: number) => void;
  }) {
    this.job = deps.job;
    this.#clock = deps.clock;
    this.#logger = deps.logger;
    this.#onEnd = deps.onEnd;
    this.#complete = deps.complete;
    this.#effects = deps.effects;
    this.#onProgress = deps.onProgress;
  }

  /**
   * Starts the handler. `onEnd` may be called before this returns.
   *
   * @param leftMs How long its host lets it run, if that is less than its time-out.
   */
  start(handler: JobHandler, leftMs: number): void {
    const { definition } = handler;
    const { crashes } = this.job;
    // It was aborted before it could start.
    if (this.#controller.signal.aborted) return this.#end({ kind: "interrupted" });
    if (crashes >= definition.maxCrashes) return this.#end({ kind: "poison", crashes });
    if (this.job.attempt > this.job.maxAttempts) return this.#end({ kind: "attempts_exhausted" });
    if (this.job.version > definition.version) return this.#end({ kind: "unsupported_version" });
    void this.#run(handler, Math.max(1, leftMs));
  }

  /** The lease is someone else's: fires the signal and ends without a settlement. */
  lose(): void {
    this.#controller.abort(abortReasons.leaseLost(this.job.id));
    this.#end(undefined);
  }

  /** Fires the signal, for the handler to stop by itself. */
  interrupt(): void {
    this.#controller.abort(abortReasons.drainAborted());
  }

  /** Ends an interrupted attempt whose handler continues. */
  abandon(): void {
    this.#end({ kind: "grace_exceeded" });
  }

  async #run(handler: JobHandler, leftMs: number): Promise<void> {
    const { timeoutMs } = handler.definition;
    const allowedMs = Math.min(timeoutMs, Math.floor(leftMs));
    try {
      const prepared = handler.prepare(this.job.payload, this.job.version);
      if (!prepared.ok) return this.#end({ kind: "invalid_payload", issues: prepared.issues });
      this.#cancelTimeout = this.#clock.setTimer(() => {
        this.#controller.abort(abortReasons.timedOut(allowedMs));
        this.#end({ kind: "timed_out", timeoutMs, allowedMs });
      }, allowedMs);
      const { id, type, tenantId, attempt, maxAttempts, correlationId } = this.job;
      const logger = withFields(this.#logger, { jobId: id, type, tenantId, attempt });
      const { signal } = this.#controller;
      let parked: Error | undefined;
      const result = await prepared.run({
        id,
        tenantId,
        attempt,
        maxAttempts,
        correlationId: correlationId ?? undefined,
        signal,
        completeIn: async (tx, result) => {
          if (parked !== undefined) throw parked;
          await this.#complete(tx, result);
        },
        effects: new AttemptEffects({
          job: this.job,
          store: this.#effects,
          clock: this.#clock,
          logger,
          signal,
          onParked: (error) => {
            parked = error;
            this.#controller.abort(error);
            this.#end({ kind: "in_doubt", message: error.message });
          },
        }),
        progress: (done, total) => {
          checkProgress(done, total);
          if (!this.#hasEnded) this.#onProgress(done, total);
        },
        logger,
      });
      this.#end({ kind: "returned", result });
    } catch (error) {
      const { aborted, reason } = this.#controller.signal;
      this.#end(
        aborted && isAbort(error, reason) ? { kind: "interrupted" } : { kind: "threw", error },
      );
    }
  }

  #end(outcome: AttemptOutcome | undefined): void {
    if (this.#hasEnded) {
      this.#logger.info("job.late_result_dropped", { jobId: this.job.id, type: this.job.type });
      return;
    }
    this.#hasEnded = true;
    this.#cancelTimeout?.();
    this.#onEnd(outcome);
  }
}

function withFields(logger: Logger, bound: Readonly<Record<string, unknown>>): Logger {
  return {
    debug: (event, fields) => logger.debug(event, { ...fields, ...bound }),
    info: (event, fields) => logger.info(event, { ...fields, ...bound }),
    warn: (event, fields) => logger.warn(event, { ...fields, ...bound }),
    error: (event, fields) => logger.error(event, { ...fields, ...bound }),
  };
}
