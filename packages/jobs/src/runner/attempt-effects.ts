import type { Clock, Logger } from "@evenkeel/core";
import { isUnreachable, type ClaimedJob, type JobEffectStore } from "@evenkeel/ledger";

import { describeError } from "../definition/error-description.ts";
import type {
  EffectCall,
  EffectOptions,
  EffectResult,
  JobEffects,
} from "../definition/job-effects.ts";
import { JobError } from "../job-error.ts";
import { abortReasons } from "./abort-reasons.ts";

const maxNameLength = 200;
const firstRetryMs = 50;
const longestRetryMs = 1_000;

/** The effects of one attempt. */
export class AttemptEffects implements JobEffects {
  readonly #job: ClaimedJob;
  readonly #store: JobEffectStore;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #signal: AbortSignal;
  readonly #whyRefused: () => Promise<JobError>;
  readonly #onParked: (error: JobError) => void;
  readonly #underWay = new Set<string>();

  constructor(deps: {
    readonly job: ClaimedJob;
    readonly store: JobEffectStore;
    readonly clock: Clock;
    /** With the job's fields in every event. */
    readonly logger: Logger;
    readonly signal: AbortSignal;
    /** Returns what is thrown where the job is no longer held. */
    readonly whyRefused: () => Promise<JobError>;
    /** Ends the attempt: an effect is in doubt and must not be called again. */
    readonly onParked: (error: JobError) => void;
  }) {
    this.#job = deps.job;
    this.#store = deps.store;
    this.#clock = deps.clock;
    this.#logger = deps.logger;
    this.#signal = deps.signal;
    this.#whyRefused = deps.whyRefused;
    this.#onParked = deps.onParked;
  }

  async once<Result extends EffectResult>(
    name: string,
    call: (effect: EffectCall) => Promise<Result>,
    options: EffectOptions = {},
  ): Promise<Result | undefined> {
    checkName(name);
    checkOptions(options);
    if (this.#underWay.has(name)) {
      throw new JobError(
        "effect_in_progress",
        `Effect ${name} of job ${this.#job.id} is under way in this attempt. Await it, or give the other its own name.`,
        { id: this.#job.id, effect: name },
      );
    }
    this.#underWay.add(name);
    try {
      return decode<Result>(await this.#recordOnce(name, call, options));
    } finally {
      this.#underWay.delete(name);
    }
  }

  /** Returns the recorded result's JSON. */
  async #recordOnce(
    name: string,
    call: (effect: EffectCall) => Promise<EffectResult>,
    { inDoubt = "retry", didNotHappen }: EffectOptions,
  ): Promise<string | undefined> {
    this.#signal.throwIfAborted();
    const begun = await this.#store.begin(this.#job, name, inDoubt === "retry");
    if (begun.outcome === "done") return begun.result;
    if (begun.outcome === "refused") throw await this.#whyRefused();
    if (begun.outcome === "in_doubt") {
      const error = abortReasons.effectInDoubt(this.#job.id, name);
      this.#onParked(error);
      throw error;
    }
    const { idempotencyKey, isRepeat } = begun;
    if (isRepeat) this.#logger.warn("job.effect_repeated", { effect: name, idempotencyKey });
    // What this try did not do, an earlier one may have done.
    const forget = async (): Promise<void> => (isRepeat ? undefined : this.#forget(name));
    if (this.#signal.aborted) {
      await forget();
      throw this.#signal.reason;
    }
    let result: EffectResult;
    try {
      result = await call({ idempotencyKey, signal: this.#signal });
    } catch (error) {
      if (isSafe(didNotHappen, error)) await forget();
      throw error;
    }
    const finished = await this.#finish(name, result);
    if (finished === undefined) throw await this.#whyRefused();
    if (finished.result === undefined && result !== undefined) {
      this.#logger.warn("job.effect_result_dropped", { effect: name });
    }
    return finished.result;
  }

  /** It has happened: a database that is unavailable for a moment must not leave it in doubt. */
  async #finish(name: string, result: EffectResult): ReturnType<JobEffectStore["finish"]> {
    for (let delayMs = firstRetryMs; ; delayMs = Math.min(delayMs * 2, longestRetryMs)) {
      try {
        return await this.#store.finish(this.#job, name, result);
      } catch (error) {
        if (!isUnreachable(error) || this.#signal.aborted) throw error;
        this.#logger.warn("job.effect_unrecorded", { effect: name, ...describe(error) });
      }
      await new Promise<void>((resolve) => {
        this.#clock.setTimer(resolve, delayMs);
      });
    }
  }

  /** Where it fails, the effect stays in doubt, and the call's own error matters more. */
  async #forget(name: string): Promise<void> {
    try {
      await this.#store.forget(this.#job, name);
    } catch (error) {
      this.#logger.warn("job.effect_unrecorded", { effect: name, ...describe(error) });
    }
  }
}

function describe(error: unknown): { readonly code: string; readonly error: string } {
  const { code, message } = describeError(error);
  return { code, error: message };
}

/** What the product says; a function that throws while it looks at an error has not said that nothing happened. */
function isSafe(didNotHappen: EffectOptions["didNotHappen"], error: unknown): boolean {
  try {
    return didNotHappen?.(error) === true;
  } catch {
    return false;
  }
}

/** What a call returned comes back in the type that the call has, for JSON is all that it may return. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the one place where JSON gets that type
function decode<Result extends EffectResult>(text: string | undefined): Result | undefined {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- recorded under this name by the same call
  return text === undefined ? undefined : (JSON.parse(text) as Result);
}

function checkName(name: unknown): void {
  const isText = typeof name === "string" && name.isWellFormed() && !name.includes("\u0000");
  if (isText && name.length >= 1 && name.length <= maxNameLength) return;
  throw new JobError(
    "invalid_options",
    `The name of an effect must have 1 to ${maxNameLength} characters and no NUL.`,
    { field: "name" },
  );
}

function checkOptions({ inDoubt }: EffectOptions): void {
  if (inDoubt === undefined || inDoubt === "retry" || inDoubt === "park") return;
  throw new JobError("invalid_options", `inDoubt must be "retry" or "park".`, { field: "inDoubt" });
}
