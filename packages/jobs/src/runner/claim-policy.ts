import { renewalMs } from "./poller-lease.ts";
import { prefetchTarget } from "./prefetch.ts";

/** While jobs run and none was due, how often the queue is asked again, in milliseconds. */
const pollMs = 250;

/** The same while the drain holds the poller lease and has just seen a job. */
const leastPollMs = 20;

/** The longest pause after a failed claim, in milliseconds. */
const longestClaimRetryMs = 5_000;

/** Where a drain is. Each drain goes through these until it has `ended`; `stopping` is never left for another. */
export type DrainPhase =
  /** Claims as soon as there is room: the last claim brought jobs, or none was sent yet. */
  | { readonly kind: "draining" }
  /** A claim is under way. */
  | { readonly kind: "claiming" }
  /** The last claim found nothing, or failed. It claims again at that time, by its clock. */
  | { readonly kind: "idle"; readonly askAgainAtMs: number }
  /** It releases its poller lease, and claims once more afterwards. */
  | { readonly kind: "leaving" }
  /** It starts and claims nothing any more. `isClaiming`: a claim that was sent before is still under way. */
  | { readonly kind: "stopping"; readonly isClaiming: boolean }
  | { readonly kind: "ended" };

/** A type that the drain knows. */
export interface KnownType {
  readonly type: string;
  readonly timeoutMs: number;
}

/** All that decides what a drain does next, as of one moment. */
export interface DrainState {
  readonly phase: DrainPhase;
  readonly nowMs: number;
  /** Attempts under way. */
  readonly running: number;
  /** Jobs claimed and not started. */
  readonly waiting: number;
  /** Whether one of those waits for nothing but a slot. */
  readonly hasReady: boolean;
  /** Batches of isolated jobs that are being delegated. */
  readonly delegating: number;
  /** Whether every settlement is written. */
  readonly isSettled: boolean;
  /** Whether settlements pile up. */
  readonly isBehind: boolean;
  /** How many more jobs it may claim before it has claimed `maxJobs`. */
  readonly room: number;
  readonly concurrency: number;
  readonly batchSize: number;
  /** How long a job takes on average; `undefined` while none has ended. */
  readonly averageMs: number | undefined;
  readonly types: readonly KnownType[];
  /** How long what is claimed now may take; infinite without a deadline, and for the first claim. */
  readonly leftMs: number;
  /** When the last claim was sent. */
  readonly claimedAtMs: number;
  /** Claims that failed since the last one that did not. */
  readonly claimFailures: number;
  /** Whether a job ended since the last claim was sent: it may have enqueued others, or be due again. */
  readonly hasChanged: boolean;
  /** Whether a cap or a rate kept the last claim from due work. */
  readonly isThrottled: boolean;
  /** How long ago it saw a job. */
  readonly idleMs: number;
  readonly idleTimeoutMs: number;
  readonly poller: PollerState;
}

/** What a drain knows of its poller lease. */
export interface PollerState {
  readonly isHeld: boolean;
  /** Whether others may still see it in the ledger. */
  readonly isMarked: boolean;
  /** Whether it is not known yet who polls. */
  readonly isAsking: boolean;
  /** Whether it was released for as long as the drain picks up no jobs. */
  readonly isBackingOff: boolean;
}

/** What a drain does next. */
export type DrainStep =
  | { readonly kind: "claim"; readonly limit: number; readonly types: readonly string[] }
  /** Until that time by its clock, or until something changes. */
  | { readonly kind: "wait"; readonly untilMs: number }
  /** Ask for the poller lease again at once, and wait. */
  | { readonly kind: "resume-poller" }
  | { readonly kind: "release-poller" }
  | { readonly kind: "end" };

const waitForChange: DrainStep = { kind: "wait", untilMs: Number.POSITIVE_INFINITY };

/**
 * Returns what a drain does next. Pure.
 *
 * It never claims while it stops or while a claim is under way, never ends with work in hand, and releases its poller
 * lease before it ends by itself. While it stops the lease is being released anyway.
 */
export function nextStep(state: DrainState): DrainStep {
  const { phase, poller } = state;
  if (phase.kind === "ended") return { kind: "end" };
  if (phase.kind === "claiming" || phase.kind === "leaving") return waitForChange;
  const isFree = hasNothingRunning(state) && state.isSettled;
  if (phase.kind === "stopping") {
    return isFree && !phase.isClaiming ? { kind: "end" } : waitForChange;
  }
  const types = fittingTypes(state);
  const limit = types.length === 0 ? 0 : claimLimit(state, isFree);
  if (limit > 0) return { kind: "claim", limit, types: types.map(({ type }) => type) };
  if (isFree) {
    const canClaim = state.room > 0 && types.length > 0;
    const sawNothing = phase.kind === "idle" && state.claimFailures === 0 && !state.hasChanged;
    // A drain that would release it again at once must not ask for it: the two would follow each other for ever.
    if (canClaim && sawNothing && poller.isBackingOff && isAttentive(state)) {
      return { kind: "resume-poller" };
    }
    if (!canClaim || (sawNothing && !isPolling(state))) {
      return poller.isMarked ? { kind: "release-poller" } : { kind: "end" };
    }
  }
  if (phase.kind === "draining" || phase.askAgainAtMs <= state.nowMs) return waitForChange;
  return { kind: "wait", untilMs: phase.askAgainAtMs };
}

/** Whether nothing runs or waits that could be settled together with what has ended. Pure. */
export function hasNothingRunning(
  state: Pick<DrainState, "running" | "waiting" | "delegating">,
): boolean {
  return state.running === 0 && state.waiting === 0 && state.delegating === 0;
}

/**
 * Returns whether others may rely on the drain to pick up new jobs. While all its slots are taken, or it starts nothing
 * any more, others should see to the lane. Pure.
 */
export function isAttentive(state: DrainState): boolean {
  if (state.phase.kind === "stopping" || state.phase.kind === "ended" || state.room <= 0) {
    return false;
  }
  if (state.claimFailures > 0 || state.isBehind) return false;
  if (fittingTypes(state) !== state.types) return false;
  return state.running < state.concurrency || state.nowMs - state.claimedAtMs < renewalMs;
}

/** Returns how long to wait after a claim that found nothing, in milliseconds: longer as the last job is longer ago. Pure. */
export function pollAfterMs({ isHeld, idleMs }: { isHeld: boolean; idleMs: number }): number {
  return isHeld ? Math.min(pollMs, Math.max(leastPollMs, idleMs / 20)) : pollMs;
}

/** Returns how long to wait after so many failed claims in a row, in milliseconds. Pure. */
export function claimRetryAfterMs(failures: number): number {
  return Math.min(longestClaimRetryMs, pollMs * 2 ** (failures - 1));
}

/** The types whose time-outs fit into what the deadline leaves; the same array when all do. */
function fittingTypes({ types, leftMs }: DrainState): readonly KnownType[] {
  if (leftMs === Number.POSITIVE_INFINITY) return types;
  const fits = types.filter(({ timeoutMs }) => timeoutMs <= leftMs);
  return fits.length === types.length ? types : fits;
}

/** How many jobs to claim now; 0: none. */
function claimLimit(state: DrainState, isFree: boolean): number {
  const { phase, concurrency, batchSize, running, waiting, room } = state;
  if (room <= 0 || state.isBehind) return 0;
  const target = prefetchTarget(state);
  const missing = target - running - waiting;
  const isHungry = !state.hasReady && running < concurrency;
  if (!isHungry && missing < target / 2) return 0;
  if (phase.kind === "idle" && state.nowMs < phase.askAgainAtMs) {
    // Before its time only when all work has ended and may have left more.
    if (state.claimFailures > 0 || !(isFree && state.hasChanged)) return 0;
  }
  return Math.min(missing, batchSize, room);
}

/** Whether it waits for new jobs, or does not know yet whether it is the one that does. */
function isPolling({ poller, isThrottled, idleMs, idleTimeoutMs }: DrainState): boolean {
  return poller.isAsking || (poller.isHeld && (isThrottled || idleMs < idleTimeoutMs));
}
