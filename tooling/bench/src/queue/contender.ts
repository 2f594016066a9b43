/** What a job does. */
export type Work = () => Promise<void>;

/** A job that does nothing. */
export const nothing: Work = async () => {};

/** A queue whose rates are measured. */
export interface Queue {
  readonly name: string;
  /** The name of its database. */
  readonly database: string;
  /** Stores so many jobs, in bulk calls of {@link bulk}. */
  enqueue(count: number): Promise<void>;
  /** Starts what it needs, runs every job that is stored, and answers when the last one is settled. */
  drain(count: number, work: Work): Promise<void>;
  close(): Promise<void>;
}

/** A queue that a product could use. */
export interface Contender extends Queue {
  /** The schema that its tables are in. */
  readonly schema: string;
  /**
   * Starts workers that wait for jobs, with the fastest way to be woken that its documentation offers.
   *
   * @param onStart Called as a job's handler begins, with the job's number and the time in {@link epochMs}.
   */
  startWorker(onStart: OnStart): Promise<PickupWorker>;
}

export type OnStart = (n: number, atMs: number) => void;

/** Workers that wait, and the way to give them work. */
export interface PickupWorker {
  /** Stores one job, in a transaction of its own. */
  enqueueOne(n: number): Promise<unknown>;
  stop(): Promise<void>;
}

/** Jobs running at a time, for each. */
export const concurrency = 24;

/** Jobs per bulk call, for each. */
const bulk = 1_000;

/** Calls `store` with one slice after another. */
export async function inBulk(
  count: number,
  store: (numbers: number[]) => Promise<unknown>,
): Promise<void> {
  for (let from = 0; from < count; from += bulk) {
    const size = Math.min(bulk, count - from);
    await store(Array.from({ length: size }, (_, index) => from + index));
  }
}

/** Milliseconds since 1970 with their fractions, alike in every process of this machine. */
export function epochMs(): number {
  return performance.timeOrigin + performance.now();
}
