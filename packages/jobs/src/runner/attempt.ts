import type { Logger, Clock } from "@evenkeel/core";
import type { ClaimedJob, JobEffectStore, TransactionClient } from "@evenkeel/ledger";

import { readVerdict } from "../definition/attempt-error.ts";
import type { JobHandler } from "../definition/job-handler.ts";
import type { JobError } from "../job-error.ts";
import { abortReasons, isAbort, type Loss } from "./abort-reasons.ts";
import { AttemptEffects } from "./attempt-effects.ts";
import { checkProgress } from "./progress-writer.ts";
import type { AttemptOutcome } from "./settlement-decision.ts";

/** Why a job is not to be started at all; `undefined` when it is. Pure. */
export function refusalOf(
  { attempt, crashes, maxAttempts, version }: ClaimedJob,
  { definition }: JobHandler,
): AttemptOutcome | undefined {
  if (crashes >= definition.maxCrashes) return { kind: "poison", crashes };
  if (attempt > maxAttempts) return { kind: "attempts_exhausted" };
  if (version > definition.version) return { kind: "unsupported_version" };
  return undefined;
}

/** One attempt under way. It ends once, by whichever comes first; what comes later is dropped. */
export class Attempt {
  readonly job: ClaimedJob;
  readonly #controller = new AbortController();
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #onEnd: (outcome: AttemptOutcome | undefined) => void;
  readonly #complete: (tx: TransactionClient, result: unknown) => Promise<void>;
  readonly #effects: JobEffectStore;
  readonly #whyRefused: () => Promise<JobError>;
  readonly #onProgress: (done: number, total: number) => void;
  #cancelTimeout: (() => void) | undefined;
  #hasStarted = false;
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
    /** Returns what a handler is told when the ledger refuses it, as the job is no longer held. */
    readonly whyRefused: () => Promise<JobError>;
    /** Called only while it runs. */
    readonly onProgress: (done: number, total: number) => void;
  }) {
    this.job = deps.job;
    this.#clock = deps.clock;
    this.#logger = deps.logger;
    this.#onEnd = deps.onEnd;
    this.#complete = deps.complete;
    this.#effects = deps.effects;
    this.#whyRefused = deps.whyRefused;
    this.#onProgress = deps.onProgress;
  }

  /** Starts the handler. `onEnd` may be called before this returns. `leftMs`: how long its host lets it run. */
  start(handler: JobHandler, leftMs: number): void {
    this.#hasStarted = true;
    void this.#run(handler, Math.max(1, leftMs));
  }

  /** Whether its handler was started. */
  get hasStarted(): boolean {
    return this.#hasStarted;
  }

  /** Ends an attempt that is not to be started. `undefined`: there is nothing to settle here. */
  refuse(outcome: AttemptOutcome | undefined): void {
    this.#end(outcome);
  }

  /** The job is no longer this drain's: fires the signal and ends without a settlement. */
  lose(loss: Loss): void {
    const { id } = this.job;
    this.#controller.abort(
      loss === "cancelled" ? abortReasons.cancelled(id) : abortReasons.leaseLost(id),
    );
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
          whyRefused: this.#whyRefused,
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
      // A snooze is the handler's own word, whatever led to it.
      const isInterrupted =
        aborted && isAbort(error, reason) && readVerdict(error)?.code !== "job_snooze";
      this.#end(isInterrupted ? { kind: "interrupted" } : { kind: "threw", error });
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
