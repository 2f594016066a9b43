import fc from "fast-check";
import { expect, test } from "vitest";

import {
  claimRetryAfterMs,
  hasNothingRunning,
  isAttentive,
  nextStep,
  pollAfterMs,
  type DrainPhase,
  type DrainState,
  type DrainStep,
} from "./claim-policy.ts";
import { stockTarget } from "./slots/prefetch.ts";

const pollMs = 250;
const nowMs = 1_000_000;

const phases: fc.Arbitrary<DrainPhase> = fc.oneof(
  fc.constantFrom<DrainPhase>(
    { kind: "draining" },
    { kind: "claiming" },
    { kind: "leaving" },
    { kind: "stopping", isClaiming: false },
    { kind: "stopping", isClaiming: true },
    { kind: "ended" },
  ),
  fc
    .oneof(fc.integer({ min: -300, max: 5_000 }), fc.constant(Number.NEGATIVE_INFINITY))
    .map((inMs): DrainPhase => ({ kind: "idle", askAgainAtMs: nowMs + inMs })),
);

const few = fc.nat({ max: 3 });
const flag = fc.boolean();

const states: fc.Arbitrary<DrainState> = fc.record({
  phase: phases,
  nowMs: fc.constant(nowMs),
  running: few,
  waiting: few,
  open: few,
  hasBlocked: flag,
  stock: fc.nat({ max: 10 }),
  delegating: fc.nat({ max: 1 }),
  isSettled: flag,
  isBehind: flag,
  room: fc.oneof(fc.nat({ max: 5 }), fc.constant(Number.MAX_SAFE_INTEGER)),
  batchSize: fc.integer({ min: 1, max: 10 }),
  types: fc.array(fc.record({ type: fc.string(), timeoutMs: fc.integer({ min: 1, max: 90 }) })),
  leftMs: fc.oneof(
    fc.constant(Number.POSITIVE_INFINITY),
    fc.double({ min: -10, max: 100, noNaN: true }),
  ),
  claimedAtMs: fc.nat({ max: 1_000 }).map((agoMs) => nowMs - agoMs),
  askOthersAtMs: fc.integer({ min: nowMs - 300, max: nowMs + 300 }),
  claimFailures: fc.nat({ max: 2 }),
  hasChanged: flag,
  isThrottled: flag,
  idleMs: fc.nat({ max: 2_000 }),
  idleTimeoutMs: fc.nat({ max: 2_000 }),
  standby: flag,
  poller: fc.record({ isHeld: flag, isMarked: flag, isAsking: flag, isBackingOff: flag }),
});

/** The smallest state found whose step breaks a rule; `null` when there is none. */
function breach(rule: (step: DrainStep, state: DrainState) => boolean): unknown {
  const property = fc.property(states, (state) => rule(nextStep(state), state));
  return fc.check(property, { numRuns: 2_000 }).counterexample;
}

test("it claims only while it neither stops nor claims nor leaves", () => {
  const mayClaim = new Set(["draining", "idle"]);
  expect(breach((step, { phase }) => step.kind !== "claim" || mayClaim.has(phase.kind))).toBeNull();
});

test("it ends only without work in hand", () => {
  const isClaiming = ({ phase }: DrainState): boolean =>
    phase.kind === "claiming" || (phase.kind === "stopping" && phase.isClaiming);
  const isFree = (state: DrainState): boolean =>
    hasNothingRunning(state) && state.isSettled && !isClaiming(state);
  expect(
    breach((step, state) => step.kind !== "end" || state.phase.kind === "ended" || isFree(state)),
  ).toBeNull();
});

test("a claim stays within maxJobs and the batch size, and brings what can start at once and the stock", () => {
  expect(
    breach((step, state) => {
      if (step.kind !== "claim") return true;
      const { batchSize, hasBlocked, isBehind, open, room, stock, waiting } = state;
      const isForOthers = step.except === "blocked";
      const startable = isForOthers ? open : (hasBlocked ? 0 : open) + stock - waiting;
      const most = Math.min(room, batchSize, startable);
      return step.limit >= 1 && step.limit <= most && !isBehind;
    }),
  ).toBeNull();
});

test("where blocked tenants stand before open slots, the others are asked for in time, whatever was found before", () => {
  fc.assert(
    fc.property(states, flag, (any, isIdle) => {
      const state: DrainState = {
        ...any,
        phase: isIdle ? { kind: "idle", askAgainAtMs: nowMs + 100 } : { kind: "draining" },
        running: 1,
        waiting: 0,
        open: 1,
        hasBlocked: true,
        stock: 0,
        isBehind: false,
        claimFailures: 0,
        room: 5,
        types: [{ type: "t", timeoutMs: 1 }],
        leftMs: 1_000,
      };
      const due = nextStep({ ...state, askOthersAtMs: nowMs });
      expect(due).toMatchObject({ kind: "claim", except: "blocked", limit: 1 });
      const early = nextStep({ ...state, askOthersAtMs: nowMs + 50 });
      expect(early).toEqual({ kind: "wait", untilMs: nowMs + 50 });
    }),
  );
});

test("a claim takes the types that fit into what the deadline leaves, and no others", () => {
  expect(
    breach((step, state) => {
      if (step.kind !== "claim") return true;
      const fitting = state.types.filter(({ timeoutMs }) => timeoutMs <= state.leftMs);
      return fitting.length > 0 && fitting.every(({ type }, place) => step.types[place] === type);
    }),
  ).toBeNull();
});

test("while jobs run or it polls, it asks again within the poll interval", () => {
  const pause = fc.record({ isHeld: flag, idleMs: fc.nat({ max: 100_000 }) });
  fc.assert(
    fc.property(states, pause, flag, (any, found, hasJob) => {
      const delayMs = pollAfterMs(found);
      expect(delayMs).toBeGreaterThanOrEqual(20);
      expect(delayMs).toBeLessThanOrEqual(pollMs);
      const askAgainAtMs = nowMs + delayMs;
      const state: DrainState = {
        ...any,
        open: 1,
        hasBlocked: false,
        ...(hasJob ? { running: 1 } : { running: 0, idleMs: 0, idleTimeoutMs: 1 }),
        phase: { kind: "idle", askAgainAtMs },
        poller: { isHeld: !hasJob, isMarked: true, isAsking: false, isBackingOff: false },
        waiting: 0,
        stock: 0,
        isBehind: false,
        claimFailures: 0,
        room: 5,
        types: [{ type: "t", timeoutMs: 1 }],
        leftMs: 1_000,
        standby: false,
      };
      const step = nextStep(state);
      expect(step.kind === "wait" ? step.untilMs : step.kind).toBeOneOf([askAgainAtMs, "claim"]);
      expect(nextStep({ ...state, nowMs: askAgainAtMs })).toMatchObject({ kind: "claim" });
    }),
  );
});

test("while another drain polls it stands by, asks once a second, and asks at once when it becomes the poller", () => {
  fc.assert(
    fc.property(states, flag, (any, isHeld) => {
      const state: DrainState = {
        ...any,
        phase: { kind: "idle", askAgainAtMs: nowMs },
        running: 0,
        waiting: 0,
        delegating: 0,
        open: 1,
        hasBlocked: false,
        stock: 0,
        isSettled: true,
        isBehind: false,
        claimFailures: 0,
        hasChanged: false,
        room: 5,
        types: [{ type: "t", timeoutMs: 1 }],
        leftMs: 1_000,
        standby: true,
        idleMs: 10,
        idleTimeoutMs: 5_000,
        poller: { isHeld, isMarked: isHeld, isAsking: false, isBackingOff: false },
      };
      const waits = { kind: "wait", untilMs: nowMs + 750 };
      expect(nextStep(state)).toMatchObject(isHeld ? { kind: "claim" } : waits);
      expect(nextStep({ ...state, nowMs: nowMs + 750 })).toMatchObject({ kind: "claim" });
      const isOver = { ...state, idleMs: 5_000, isThrottled: false };
      const end = { kind: isHeld ? "release-poller" : "end" };
      expect(nextStep({ ...isOver, phase: { kind: "idle", askAgainAtMs: nowMs + 9 } })).toEqual(
        end,
      );
      const alone = {
        ...state,
        standby: false,
        phase: { kind: "idle", askAgainAtMs: nowMs + 9 },
      } as const;
      expect(isHeld ? { kind: "end" } : nextStep(alone)).toEqual({ kind: "end" });
    }),
  );
});

test("a loop over drains that wait never spins, be it that no type fits into their deadline", () => {
  expect(
    breach((step, state) => {
      const { phase, standby, idleMs, idleTimeoutMs, room, claimFailures, hasChanged } = state;
      const sawNothing = phase.kind === "idle" && claimFailures === 0 && !hasChanged && room > 0;
      const isEarly = standby && idleMs < Math.min(idleTimeoutMs, 750);
      return step.kind !== "end" || !sawNothing || !isEarly;
    }),
  ).toBeNull();
});

test("after failed claims it asks again later each time, within five seconds", () => {
  expect([1, 2, 3, 4, 5, 6, 50].map(claimRetryAfterMs)).toEqual([
    250, 500, 1_000, 2_000, 4_000, 5_000, 5_000,
  ]);
});

test("it ends by itself only without a poller lease that others may see", () => {
  const isTold = new Set(["stopping", "ended"]);
  expect(
    breach((step, { phase, poller }) => {
      if (step.kind === "release-poller") return poller.isMarked;
      return step.kind !== "end" || isTold.has(phase.kind) || !poller.isMarked;
    }),
  ).toBeNull();
});

test("it asks for the poller lease again only if it would not release it at once", () => {
  expect(breach((step, state) => step.kind !== "resume-poller" || isAttentive(state))).toBeNull();
});

test("others may not rely on a drain that stops, is full of work or has no room for some types", () => {
  const hasStopped = new Set(["stopping", "ended"]);
  expect(
    breach((_step, state) => {
      if (!isAttentive(state)) return true;
      const canClaim = state.room > 0 && !state.isBehind && state.claimFailures === 0;
      const fits = state.types.every(({ timeoutMs }) => timeoutMs <= state.leftMs);
      return canClaim && fits && !hasStopped.has(state.phase.kind);
    }),
  ).toBeNull();
});

test("it never waits for a time that has passed", () => {
  expect(breach((step) => step.kind !== "wait" || step.untilMs > nowMs)).toBeNull();
});

/** A drain without a database: jobs take a millisecond, and claims and the poller lease are answered at once. */
function simulate(given: {
  readonly backlog: number;
  readonly maxJobs: number;
  readonly concurrency: number;
  readonly batchSize: number;
  readonly idleTimeoutMs: number;
  readonly failures: number;
}): { readonly claimed: number; readonly steps: readonly string[] } {
  const { maxJobs, concurrency, batchSize, idleTimeoutMs } = given;
  let { backlog, failures } = given;
  let [now, claimed, seenAtMs, claimFailures, running, waiting] = [0, 0, 0, 0, 0, 0];
  let phase: DrainPhase = { kind: "draining" };
  let hasChanged = false;
  let isHeld = idleTimeoutMs > 0;
  const steps: string[] = [];
  while (steps.length < 10_000) {
    const started = Math.min(waiting, concurrency - running);
    running += started;
    waiting -= started;
    const step = nextStep({
      phase,
      nowMs: now,
      running,
      waiting,
      open: concurrency - running,
      hasBlocked: running === concurrency,
      stock: stockTarget({ averageMs: 1, averageBytes: 9, slots: concurrency, batchSize }),
      delegating: 0,
      isSettled: true,
      isBehind: false,
      room: maxJobs - claimed,
      batchSize,
      types: [{ type: "t", timeoutMs: 1 }],
      leftMs: Number.POSITIVE_INFINITY,
      claimedAtMs: now,
      askOthersAtMs: 0,
      claimFailures,
      hasChanged,
      isThrottled: false,
      idleTimeoutMs,
      standby: false,
      idleMs: now - seenAtMs,
      poller: { isHeld, isMarked: isHeld, isAsking: false, isBackingOff: false },
    });
    steps.push(step.kind);
    if (step.kind === "end") return { claimed, steps };
    if (step.kind === "release-poller") {
      isHeld = false;
      phase = { kind: "idle", askAgainAtMs: Number.NEGATIVE_INFINITY };
    } else if (step.kind === "claim" && claimed > 0 && failures > 0) {
      failures -= 1;
      claimFailures += 1;
      phase = { kind: "idle", askAgainAtMs: now + claimRetryAfterMs(claimFailures) };
    } else if (step.kind === "claim") {
      const found = Math.min(step.limit, backlog);
      [backlog, claimed, waiting] = [backlog - found, claimed + found, waiting + found];
      [hasChanged, claimFailures] = [false, 0];
      if (found > 0) [seenAtMs, isHeld] = [now, idleTimeoutMs > 0];
      const askAgainAtMs = now + pollAfterMs({ isHeld, idleMs: now - seenAtMs });
      phase = found > 0 ? { kind: "draining" } : { kind: "idle", askAgainAtMs };
    } else if (running > 0) {
      now += 1;
      running -= 1;
      hasChanged = true;
    } else if (step.kind === "wait") now = step.untilMs;
  }
  throw new Error("It did not end.");
}

test("whatever is due, it claims all of it or up to maxJobs, looks once more after it polled, and ends", () => {
  const given = fc.record({
    backlog: fc.nat({ max: 60 }),
    maxJobs: fc.oneof(fc.nat({ max: 60 }), fc.constant(1_000)),
    concurrency: fc.integer({ min: 1, max: 5 }),
    batchSize: fc.integer({ min: 1, max: 20 }),
    idleTimeoutMs: fc.constantFrom(0, 1, 400),
    failures: fc.nat({ max: 4 }),
  });
  fc.assert(
    fc.property(given, (drain) => {
      const { claimed, steps } = simulate(drain);
      expect(claimed).toBe(Math.min(drain.backlog, drain.maxJobs));
      const canClaimMore = claimed < drain.maxJobs;
      const isPolling = drain.idleTimeoutMs > 0;
      const expected = [
        ...(isPolling ? ["release-poller"] : []),
        ...(canClaimMore ? ["claim"] : []),
      ];
      const last = steps.filter((step) => step !== "wait").slice(0, -1);
      expect(last.slice(last.length - expected.length)).toEqual(expected);
    }),
  );
});
