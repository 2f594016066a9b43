import type { JsonValue } from "@evenkeel/core";

/** What a call to the outside world is given. */
export interface EffectCall {
  /** The same in every try of this effect, whichever attempt, worker or redriven job makes it. */
  readonly idempotencyKey: string;
  /** The attempt's signal. */
  readonly signal: AbortSignal;
}

/** What a call may return: JSON, or nothing. */
// oxlint-disable-next-line typescript/no-invalid-void-type -- what an async function without a return resolves to
export type EffectResult = JsonValue | undefined | void;

/** Settings of {@link JobEffects.once}. */
export interface EffectOptions {
  /**
   * What to do when an earlier try was begun and it is not known whether it happened. `retry`, the default: call
   * again under the same key, for a service that honours such keys. `park`: do not call; the job goes to the dead
   * letters (`in_doubt`) at once, for an operator to decide.
   */
  readonly inDoubt?: "retry" | "park";
  /**
   * Whether an error of the call means that nothing happened, as when the connection was refused: the next try
   * is then a first one, unless an earlier try is in doubt already. `false` if absent, and when it throws.
   */
  readonly didNotHappen?: (error: unknown) => boolean;
}

/** Calls to the outside world, each on record before it is made and after it has returned. */
export interface JobEffects {
  /**
   * Makes a call unless it is on record as done, and then returns what is on record: what the call returned
   * after a trip through Postgres' JSON, or `undefined` when it returned nothing or what cannot be kept (at most
   * 64 KiB). The record uses a connection of the ledger, never the handler's transaction; not to be used between
   * `completeIn` and the end of its transaction, which holds the job's row.
   *
   * What the call throws passes through. The effect is then in doubt, unless `didNotHappen` says otherwise.
   *
   * @param name Of the effect within its job, the same in every attempt: 1 to 200 characters without NUL.
   * @throws JobError `lease_lost` when the job is no longer held, be it that the call was made;
   * `effect_in_doubt` when it is parked, and the attempt has ended; `effect_in_progress` when one of that name is
   * under way in this attempt; `invalid_options`.
   *
   * @example
   * const chargeId = await job.effects.once("charge", async ({ idempotencyKey, signal }) => {
   *   const charge = await payments.charge({ amount, idempotencyKey, signal });
   *   return charge.id;
   * });
   */
  once<Result extends EffectResult>(
    name: string,
    call: (effect: EffectCall) => Promise<Result>,
    options?: EffectOptions,
  ): Promise<Result | undefined>;
}
