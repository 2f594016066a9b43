import { type ConcurrencyClaim, type Run, isEnded } from "../run/run.ts";
import { type Heap, createHeap } from "../time/heap.ts";
import type { TimerQueue } from "../time/timer-queue.ts";
import { createGcra } from "./gcra.ts";
import { type Job, isJobBefore } from "./job.ts";

/** What is in use under one key, and the jobs that wait for it. */
interface ConcurrencySlot {
  used: number;
  readonly waiting: Heap<Job>;
}

/** The limits on what runs at once, and on starts per time: concurrency keys and throttles. */
export interface ConcurrencySlots {
  /** Takes all that a job's request needs, or none of it: the job then waits at the first limit that is full. */
  acquire(job: Job): boolean;
  /** Releases what a job's request held. */
  release(job: Job): void;
  /** Releases what a run held from its first request on. */
  releaseRun(run: Run): void;
  /** Wakes others for slots that a job was woken for and does not take. */
  passOn(job: Job): void;
  clear(): void;
}

/** Creates {@link ConcurrencySlots}; `onFree` receives a job that may try again, `onDrop` one whose run has ended. */
export function createConcurrencySlots(deps: {
  timers: TimerQueue;
  now: () => number;
  onFree: (job: Job) => void;
  onDrop: (job: Job) => void;
}): ConcurrencySlots {
  const { timers, now, onFree, onDrop } = deps;
  const slots = new Map<string, ConcurrencySlot>();
  const throttles = createGcra();
  /** The runs that hold the claims of whole runs. */
  const holders = new Set<string>();
  let epoch = 0;

  function slotOf(key: string): ConcurrencySlot {
    let slot = slots.get(key);
    if (slot === undefined) {
      slot = { used: 0, waiting: createHeap(isJobBefore) };
      slots.set(key, slot);
    }
    return slot;
  }

  function claimsOf(job: Job): readonly ConcurrencyClaim[] {
    if (job.kind !== "start" || holders.has(job.run.id)) return job.run.claims;
    return [...job.run.claims, ...job.run.runClaims];
  }

  /** Releases a slot `count` times and lets the first job that waits for it try again. */
  function free(key: string, count: number): void {
    const slot = slots.get(key);
    if (slot === undefined) return;
    slot.used -= count;
    for (let next = slot.waiting.pop(); next !== undefined; next = slot.waiting.pop()) {
      if (!isEnded(next.run)) {
        onFree(next);
        return;
      }
      onDrop(next);
    }
    if (slot.used === 0) slots.delete(key);
  }

  function passOn(job: Job, exceptKey?: string): void {
    for (const claim of claimsOf(job)) {
      const slot = slots.get(claim.key);
      if (claim.key !== exceptKey && slot !== undefined && slot.used < claim.limit) {
        free(claim.key, 0);
      }
    }
  }

  /** Takes a start from its function's throttle, or lets the job wait for the next one. */
  function passThrottle(job: Job): boolean {
    const { throttle } = job.run.fn;
    const { throttleKey } = job.run;
    if (job.kind !== "start" || job.attempt > 0 || !throttle || throttleKey === undefined) {
      return true;
    }
    const admission = throttles.admit(throttleKey, throttle, now());
    if (admission.isAllowed) return true;
    const key = `throttle ${throttleKey}`;
    slotOf(key).waiting.push(job);
    const parkedIn = epoch;
    timers.at(admission.retryAtMs, () => {
      if (parkedIn === epoch) free(key, 0);
    });
    return false;
  }

  return {
    acquire(job) {
      const claims = claimsOf(job);
      const full = claims.find((claim) => slotOf(claim.key).used >= claim.limit);
      if (full !== undefined) {
        slotOf(full.key).waiting.push(job);
        passOn(job, full.key);
        return false;
      }
      if (!passThrottle(job)) return false;
      for (const claim of claims) slotOf(claim.key).used += 1;
      if (job.kind === "start" && job.run.runClaims.length > 0) holders.add(job.run.id);
      return true;
    },
    release(job) {
      for (const claim of job.run.claims) free(claim.key, 1);
    },
    releaseRun(run) {
      if (!holders.delete(run.id)) return;
      for (const claim of run.runClaims) free(claim.key, 1);
    },
    passOn: (job) => passOn(job),
    clear() {
      epoch += 1;
      slots.clear();
      holders.clear();
      throttles.clear();
    },
  };
}
