import type { FunctionConfig } from "../app/function-config.ts";
import { type Run, isEnded } from "../run/run.ts";
import type { TimerQueue } from "../time/timer-queue.ts";
import { createConcurrencySlots } from "./concurrency-slots.ts";
import { createFunctionQueues } from "./function-queues.ts";
import type { Job, NewJob } from "./job.ts";

/** The queue of jobs: time, priority, concurrency limits and throttles decide which is next. */
export interface JobQueue {
  /** Queues a job unless its run had one with this id before; says whether it did. */
  enqueue(job: NewJob): boolean;
  /** Queues a job for another try at `atMs`. */
  requeue(job: Job, atMs: number): void;
  /** Takes the next job that may run now, with the concurrency slots it needs. */
  take(): Job | undefined;
  /** Releases the concurrency slots that a job's request held. */
  release(job: Job): void;
  /** Releases the concurrency slots that a run held. */
  releaseRun(run: Run): void;
  /** Stops a function's jobs from being taken, or lets them be taken again. */
  setPaused(fn: FunctionConfig, isPaused: boolean): void;
  /** How many jobs wait for their time or for a concurrency slot. */
  waiting(): number;
  clear(): void;
}

/** Creates a {@link JobQueue}; `onReady` is called when a job may have become ready. */
export function createJobQueue(deps: {
  timers: TimerQueue;
  now: () => number;
  onReady: () => void;
}): JobQueue {
  const { timers, now, onReady } = deps;
  const queues = createFunctionQueues();
  const slots = createConcurrencySlots({ timers, now, onFree: makeReady, onDrop });
  let order = 0;
  let waiting = 0;
  let epoch = 0;

  function makeReady(job: Job): void {
    queues.push(job);
    onReady();
  }

  function onDrop(): void {
    waiting -= 1;
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

  function acquire(job: Job): boolean {
    if (!isEnded(job.run)) return slots.acquire(job);
    waiting -= 1;
    slots.passOn(job);
    return false;
  }

  return {
    enqueue(fields) {
      if (fields.run.jobIds.has(fields.id)) return false;
      fields.run.jobIds.add(fields.id);
      const askedMs = fields.atMs ?? now();
      // A negative priority delays each request by its seconds, even when nothing else is queued.
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
        isPlanning: false,
        order: order++,
      };
      schedule(job, atMs);
      return true;
    },
    requeue: schedule,
    take() {
      const job = queues.take(acquire);
      if (job !== undefined) waiting -= 1;
      return job;
    },
    release: (job) => slots.release(job),
    releaseRun: (run) => slots.releaseRun(run),
    setPaused(fn, isPaused) {
      queues.setPaused(fn, isPaused);
      onReady();
    },
    waiting: () => waiting,
    clear() {
      epoch += 1;
      queues.clear();
      slots.clear();
      waiting = 0;
    },
  };
}
