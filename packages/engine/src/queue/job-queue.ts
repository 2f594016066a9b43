import type { FunctionConfig } from "../app/function-config.ts";
import { createGcra } from "./gcra.ts";
import type { TimerQueue } from "../time/timer-queue.ts";
import { type Heap, createHeap } from "../time/heap.ts";
import type { Job, NewJob } from "./job.ts";
import { type Claim, type Run, isEnded } from "../run/run.ts";

/** The queue of jobs: time, priority, concurrency limits and throttles decide which is next. */
export interface JobQueue {
  /** Queues a job unless its run had one with this id before; says whether it did. */
  enqueue(job: NewJob): boolean;
  /** Puts a job back for another try. */
  requeue(job: Job, atMs: number): void;
  /** Takes the next job that may run now, with the places it needs. */
  take(): Job | undefined;
  /** Gives back the places that a job's request held. */
  release(job: Job): void;
  /** Gives back the places that a run held. */
  releaseRun(run: Run): void;
  /** Holds a function's jobs back, or lets them go again. */
  setPaused(fn: FunctionConfig, isPaused: boolean): void;
  /** Jobs that wait for their time or for a place, for `explain` and tests. */
  waiting(): number;
  clear(): void;
}

interface Lane {
  readonly ready: Heap<Job>;
  isListed: boolean;
  isPaused: boolean;
}

interface Place {
  used: number;
  readonly waiting: Heap<Job>;
}

const isBefore = (a: Job, b: Job) =>
  rank(a) < rank(b) || (rank(a) === rank(b) && a.order < b.order);

/** Older runs go first, and a priority lets a run stand ahead by as many milliseconds. */
function rank(job: Job): number {
  return job.run.queuedAtMs - job.run.headStartMs;
}

/** Creates a {@link JobQueue}; `onReady` is called when a job may have become ready. */
export function createJobQueue(deps: {
  timers: TimerQueue;
  now: () => number;
  onReady: () => void;
}): JobQueue {
  const { timers, now, onReady } = deps;
  const lanes = new Map<string, Lane>();
  /** Lanes with ready jobs, each taking its turn. */
  let turns: Lane[] = [];
  const places = new Map<string, Place>();
  const throttles = createGcra();
  const runHolders = new Set<string>();
  let order = 0;
  let waiting = 0;
  let epoch = 0;

  function laneOf(fn: FunctionConfig): Lane {
    let lane = lanes.get(fn.id);
    if (lane === undefined) {
      lane = { ready: createHeap(isBefore), isListed: false, isPaused: false };
      lanes.set(fn.id, lane);
    }
    return lane;
  }

  function placeOf(key: string): Place {
    let place = places.get(key);
    if (place === undefined) {
      place = { used: 0, waiting: createHeap(isBefore) };
      places.set(key, place);
    }
    return place;
  }

  function list(lane: Lane): void {
    if (lane.isListed || lane.isPaused || lane.ready.size === 0) return;
    lane.isListed = true;
    turns.push(lane);
  }

  function makeReady(job: Job): void {
    const lane = laneOf(job.run.fn);
    lane.ready.push(job);
    list(lane);
    onReady();
  }

  function schedule(job: Job, atMs: number): void {
    waiting += 1;
    if (atMs <= now()) {
      makeReady(job);
      return;
    }
    const scheduledIn = epoch;
    timers.at(atMs, () => {
      if (scheduledIn === epoch) makeReady(job);
    });
  }

  function claimsOf(job: Job): readonly Claim[] {
    if (job.kind !== "start" || runHolders.has(job.run.id)) return job.run.claims;
    return [...job.run.claims, ...job.run.runClaims];
  }

  /** Frees one place and lets the first that waits for it try again. */
  function free(key: string, count: number): void {
    const place = places.get(key);
    if (place === undefined) return;
    place.used -= count;
    for (let next = place.waiting.pop(); next !== undefined; next = place.waiting.pop()) {
      if (!isEnded(next.run)) {
        makeReady(next);
        return;
      }
      waiting -= 1;
    }
    if (place.used === 0) places.delete(key);
  }

  /** Passes on places that a job was called for and does not take. */
  function passOn(job: Job, exceptKey?: string): void {
    for (const claim of claimsOf(job)) {
      const place = places.get(claim.key);
      if (claim.key !== exceptKey && place !== undefined && place.used < claim.limit) {
        free(claim.key, 0);
      }
    }
  }

  function parkAt(key: string, job: Job): void {
    placeOf(key).waiting.push(job);
    passOn(job, key);
  }

  function acquire(job: Job): boolean {
    const claims = claimsOf(job);
    for (const claim of claims) {
      if (placeOf(claim.key).used >= claim.limit) {
        parkAt(claim.key, job);
        return false;
      }
    }
    const { throttle } = job.run.fn;
    const throttleKey = job.run.throttleKey;
    if (job.kind === "start" && job.attempt === 0 && throttle && throttleKey !== undefined) {
      const admission = throttles.admit(throttleKey, throttle, now());
      if (!admission.isAllowed) {
        parkForThrottle(throttleKey, admission.retryAtMs, job);
        return false;
      }
    }
    for (const claim of claims) placeOf(claim.key).used += 1;
    if (job.kind === "start" && job.run.runClaims.length > 0) runHolders.add(job.run.id);
    return true;
  }

  function parkForThrottle(key: string, retryAtMs: number, job: Job): void {
    const placeKey = `throttle ${key}`;
    const place = placeOf(placeKey);
    place.waiting.push(job);
    const parkedIn = epoch;
    timers.at(retryAtMs, () => {
      if (parkedIn === epoch) free(placeKey, 0);
    });
  }

  function takeFromLane(lane: Lane): Job | undefined {
    for (;;) {
      const job = lane.ready.pop();
      if (job === undefined) return undefined;
      if (isEnded(job.run)) {
        waiting -= 1;
        passOn(job);
        continue;
      }
      if (acquire(job)) {
        waiting -= 1;
        return job;
      }
    }
  }

  return {
    enqueue(fields) {
      if (fields.run.jobIds.has(fields.id)) return false;
      fields.run.jobIds.add(fields.id);
      const askedMs = fields.atMs ?? now();
      // A negative priority holds each request back by its seconds, with nothing in the way too.
      const atMs =
        fields.kind === "sleep" ? askedMs : askedMs + Math.max(-fields.run.headStartMs, 0);
      const job: Job = {
        fromStepId: undefined,
        stepId: undefined,
        isRace: false,
        batchKey: undefined,
        ...fields,
        atMs,
        attempt: 0,
        generation: 0,
        order: order++,
      };
      schedule(job, atMs);
      return true;
    },
    requeue(job, atMs) {
      schedule(job, atMs);
    },
    take() {
      for (let lane = turns.shift(); lane !== undefined; lane = turns.shift()) {
        lane.isListed = false;
        if (lane.isPaused) continue;
        const job = takeFromLane(lane);
        list(lane);
        if (job !== undefined) return job;
      }
      return undefined;
    },
    release(job) {
      for (const claim of job.run.claims) free(claim.key, 1);
    },
    releaseRun(run) {
      if (!runHolders.delete(run.id)) return;
      for (const claim of run.runClaims) free(claim.key, 1);
    },
    setPaused(fn, isPaused) {
      const lane = laneOf(fn);
      lane.isPaused = isPaused;
      list(lane);
      onReady();
    },
    waiting: () => waiting,
    clear() {
      epoch += 1;
      lanes.clear();
      turns = [];
      places.clear();
      runHolders.clear();
      throttles.clear();
      waiting = 0;
    },
  };
}
