import type { FunctionConfig } from "../app/function-config.ts";
import { type Heap, createHeap } from "../time/heap.ts";
import { type Job, isJobBefore } from "./job.ts";

/** The ready jobs of one function. */
interface FunctionQueue {
  readonly ready: Heap<Job>;
  /** Whether it stands in the line of queues that take turns. */
  isListed: boolean;
  isPaused: boolean;
}

/** A queue of ready jobs per function; the functions take turns. */
export interface FunctionQueues {
  push(job: Job): void;
  /**
   * Takes the next job that `acquire` accepts, from the function whose turn it is. A job that it denies
   * leaves its queue.
   */
  take(acquire: (job: Job) => boolean): Job | undefined;
  /** Skips a function's queue, or lets it take turns again. */
  setPaused(fn: FunctionConfig, isPaused: boolean): void;
  clear(): void;
}

/** Creates {@link FunctionQueues}. */
export function createFunctionQueues(): FunctionQueues {
  const queues = new Map<string, FunctionQueue>();
  /** Queues with ready jobs, each taking its turn. */
  let turns: FunctionQueue[] = [];

  function queueOf(fn: FunctionConfig): FunctionQueue {
    let queue = queues.get(fn.id);
    if (queue === undefined) {
      queue = { ready: createHeap(isJobBefore), isListed: false, isPaused: false };
      queues.set(fn.id, queue);
    }
    return queue;
  }

  function list(queue: FunctionQueue): void {
    if (queue.isListed || queue.isPaused || queue.ready.size === 0) return;
    queue.isListed = true;
    turns.push(queue);
  }

  return {
    push(job) {
      const queue = queueOf(job.run.fn);
      queue.ready.push(job);
      list(queue);
    },
    take(acquire) {
      for (let queue = turns.shift(); queue !== undefined; queue = turns.shift()) {
        queue.isListed = false;
        if (queue.isPaused) continue;
        let job = queue.ready.pop();
        while (job !== undefined && !acquire(job)) job = queue.ready.pop();
        list(queue);
        if (job !== undefined) return job;
      }
      return undefined;
    },
    setPaused(fn, isPaused) {
      const queue = queueOf(fn);
      queue.isPaused = isPaused;
      list(queue);
    },
    clear() {
      queues.clear();
      turns = [];
    },
  };
}
