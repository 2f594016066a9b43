import type { SlotState } from "./job-slots.ts";
import { renewalMs } from "./poller-lease.ts";

/** While jobs run and none was due, how often the queue is asked again, in milliseconds. */
const pollMs = 250;

/** The same while the drain holds the poller lease and has just seen a job. */
const leastPollMs = 20;

/** How much longer a drain waits between two questions while it stands by, in milliseconds. */
const standbyPauseMs = 750;

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
export interface DrainState extends SlotState {
  readonly phase: DrainPhase;
  readonly nowMs: number;
  /** Batches of isolated jobs that are being delegated. */
  readonly delegating: number;
  /** Whether every settlement and every start is written. */
  readonly isSettled: boolean;
  /** Whether settlements pile up. */
  readonly isBehind: boolean;
  /** How many more jobs it may claim before it has claimed `maxJobs`. */
  readonly room: number;
  readonly batchSize: number;
  readonly types: readonly KnownType[];
  /** How long what is claimed now may take; infinite without a deadline, and for the first claim. */
  readonly leftMs: number;
  /** When the last claim for all tenants was sent. */
  readonly claimedAtMs: number;
  /** When the queue is to be asked for jobs of tenants that are not blocked, beside others that are. */
  readonly askOthersAtMs: number;
  /** Claims that failed since the last one that did not. */
  readonly claimFailures: number;
  /** Whether a job ended since the last claim for all tenants was sent: it may have enqueued others, or be due again. */
  readonly hasChanged: boolean;
  /** Whether a cap or a rate kept the last claim from due work. */
  readonly isThrottled: boolean;
  /** How long ago it saw a job. */
  readonly idleMs: number;
  readonly idleTimeoutMs: number;
  /** Whether it waits as well while another drain polls. */
  readonly standby: boolean;
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

/** A claim that a drain makes next. */
export interface ClaimStep {
  readonly kind: "claim";
  readonly limit: number;
  readonly types: readonly string[];
  /** `blocked`: it is for tenants that may start jobs now. `stalled`: for all but those that will not soon. */
  readonly except: "blocked" | "stalled";
}

/** What a drain does next. */
export type DrainStep =
  | ClaimStep
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
  const { nowMs, phase, poller } = state;
  if (phase.kind === "ended") return { kind: "end" };
  if (phase.kind === "claiming" || phase.kind === "leaving") return waitForChange;
  const isFree = hasNothingRunning(state) && state.isSettled;
  if (phase.kind === "stopping") {
    return isFree && !phase.isClaiming ? { kind: "end" } : waitForChange;
  }
  const types = fittingTypes(state);
  const claim = types.length === 0 ? undefined : nextClaim(state, isFree);
  if (claim !== undefined) return { ...claim, types: types.map(({ type }) => type) };
  if (isFree) {
    const canClaim = state.room > 0 && types.length > 0;
    const sawNothing = phase.kind === "idle" && state.claimFailures === 0 && !state.hasChanged;
    // A drain that would release it again at once must not ask for it: the two would follow each other for ever.
    if (canClaim && sawNothing && poller.isBackingOff && isAttentive(state)) {
      return { kind: "resume-poller" };
    }
    if (!canClaim || (sawNothing && !isPolling(state))) {
      if (poller.isMarked) return { kind: "release-poller" };
      // A loop would ask again at once.
      const pauseMs = Math.min(state.idleTimeoutMs, standbyPauseMs) - state.idleMs;
      const hasPause = state.standby && sawNothing && state.room > 0 && pauseMs > 0;
      return hasPause ? { kind: "wait", untilMs: nowMs + pauseMs } : { kind: "end" };
    }
  }
  const times = [
    phase.kind === "idle" ? askAtMs(state, phase.askAgainAtMs) : nowMs,
    state.open > 0 && state.hasBlocked ? state.askOthersAtMs : nowMs,
  ].filter((atMs) => atMs > nowMs);
  return times.length === 0 ? waitForChange : { kind: "wait", untilMs: Math.min(...times) };
}

/** Whether nothing runs or waits that could be settled together with what has ended. Pure. */
export function hasNothingRunning(
  state: Pick<DrainState, "running" | "waiting" | "delegating">,
): boolean {
  return state.running === 0 && state.waiting === 0 && state.delegating === 0;
}

/**
 * Returns whether others may rely on the drain to pick up new jobs. While some tenant has taken all the slots that it
 * may have, or the drain starts nothing any more, others should see to the lane. Pure.
 */
export function isAttentive(state: DrainState): boolean {
  if (state.phase.kind === "stopping" || state.phase.kind === "ended" || state.room <= 0) {
    return false;
  }
  if (state.claimFailures > 0 || state.isBehind) return false;
  if (fittingTypes(state) !== state.types) return false;
  return !state.hasBlocked || state.nowMs - state.claimedAtMs < renewalMs;
}

/** How long after a claim tenants that are not blocked are asked for beside those that are, in milliseconds. */
export const askOthersAfterMs: number = pollMs;

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

/**
 * The claim to make now, if any. One for all tenants brings what can start at once and a stock. Where blocked tenants
 * stand in its way, a claim for the others brings what can start at once.
 */
function nextClaim(state: DrainState, isFree: boolean): Omit<ClaimStep, "types"> | undefined {
  const { phase, batchSize, running, waiting, room, open, hasBlocked, stock } = state;
  if (room <= 0 || state.isBehind) return undefined;
  const isEarly = phase.kind === "idle" && state.nowMs < askAtMs(state, phase.askAgainAtMs);
  if (isEarly && state.claimFailures > 0) return undefined;
  const startable = hasBlocked ? 0 : open;
  const missing = startable + stock - waiting;
  const isDue = startable > 0 ? missing > 0 : missing >= Math.max(1, (running + stock) / 2);
  // Before its time only when all work has ended and may have left more.
  if (isDue && (!isEarly || (isFree && state.hasChanged))) {
    return { kind: "claim", limit: Math.min(missing, batchSize, room), except: "stalled" };
  }
  if (open > 0 && hasBlocked && state.nowMs >= state.askOthersAtMs) {
    return { kind: "claim", limit: Math.min(open, batchSize, room), except: "blocked" };
  }
  return undefined;
}

/** When to ask again: later while another drain polls the lane, and as planned once this one does. */
function askAtMs(state: DrainState, askAgainAtMs: number): number {
  const { poller, standby, idleTimeoutMs, claimFailures } = state;
  const isStandingBy =
    standby && idleTimeoutMs > 0 && !poller.isHeld && !poller.isAsking && claimFailures === 0;
  return isStandingBy && hasNothingRunning(state) ? askAgainAtMs + standbyPauseMs : askAgainAtMs;
}

/** Whether it waits for new jobs, stands by, or does not know yet which of the two. */
function isPolling(state: DrainState): boolean {
  const { poller, standby, isThrottled, idleMs, idleTimeoutMs } = state;
  if (poller.isAsking) return true;
  return poller.isHeld ? isThrottled || idleMs < idleTimeoutMs : standby && idleMs < idleTimeoutMs;
}
