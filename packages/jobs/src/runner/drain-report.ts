import { withDeadline, type Clock, type Lane, type Logger, type BucketRange } from "@evenkeel/core";
import type { JobStore, Settlement, TypeCount } from "@evenkeel/ledger";

import { describeError } from "../definition/error-description.ts";

/**
 * What a drain did. Only settlements that the ledger accepted count as such, so `claimed` is the sum of the
 * eight numbers below it.
 */
export interface DrainReport {
  readonly claimed: number;
  readonly succeeded: number;
  readonly retried: number;
  readonly snoozed: number;
  readonly dead: number;
  /**
   * Results dropped because the job was no longer held, or could not be settled while it was; and jobs that were
   * cancelled between their claim and their start.
   */
  readonly lost: number;
  /** Results dropped because the job was cancelled. */
  readonly cancelled: number;
  /** Claimed and released without an attempt being counted. */
  readonly released: number;
  /** Isolated jobs delegated to runs of their own. */
  readonly delegated: number;
  /** Due work of known types is left. `true` as well when that could not be found out. */
  readonly remaining: boolean;
  /** It was the poller of its lane, and due work is left that a cap or a rate throttles: another drain should wait for it. */
  readonly throttled: boolean;
  /** One of its signals ended it. */
  readonly stopped: boolean;
  /** Due jobs that no host has a handler for, by type. */
  readonly unknownTypes: readonly TypeCount[];
}

/** The numbers of a {@link DrainReport}, while the drain runs. */
export type DrainCounts = {
  -readonly [
    Name in Exclude<keyof DrainReport, "remaining" | "throttled" | "stopped" | "unknownTypes">
  ]: number;
};

const drainCountNames = [
  "claimed",
  "succeeded",
  "retried",
  "snoozed",
  "dead",
  "lost",
  "cancelled",
  "released",
  "delegated",
] as const satisfies readonly (keyof DrainCounts)[];

/** Returns the counts of a drain that has done nothing. */
export function emptyDrainCounts(): DrainCounts {
  return {
    claimed: 0,
    succeeded: 0,
    retried: 0,
    snoozed: 0,
    dead: 0,
    lost: 0,
    cancelled: 0,
    released: 0,
    delegated: 0,
  };
}

/** Returns the sums of two drains' counts. Whatever else a report holds is left out. */
export function addDrainCounts(
  one: Readonly<DrainCounts>,
  other: Readonly<DrainCounts>,
): DrainCounts {
  const sums = emptyDrainCounts();
  for (const name of drainCountNames) sums[name] = one[name] + other[name];
  return sums;
}

/** Which number a settlement adds to. */
export const countedAs: Readonly<Record<Settlement["kind"], keyof DrainCounts>> = {
  succeeded: "succeeded",
  retry: "retried",
  snooze: "snoozed",
  released: "released",
  dead: "dead",
  cancelled: "cancelled",
};

/** Asks the ledger what a drain leaves behind. Never throws: what cannot be found out counts as remaining. */
export async function readRemains({
  jobs,
  lane,
  buckets,
  types,
  versions,
  clock,
  patienceMs,
  logger,
  isThrough,
}: {
  readonly jobs: JobStore;
  readonly lane: Lane;
  readonly buckets: BucketRange;
  readonly types: readonly string[];
  readonly versions: Readonly<Record<string, number>>;
  readonly clock: Clock;
  /** How long a response is awaited, in milliseconds. */
  readonly patienceMs: number;
  readonly logger: Logger;
  /** The drain has just seen that nothing is due. */
  readonly isThrough: boolean;
}): Promise<Pick<DrainReport, "remaining" | "unknownTypes">> {
  const scope = { types, versions, buckets };
  try {
    const [remaining, unknownTypes] = await withDeadline(
      patienceMs,
      async () => Promise.all([isThrough ? false : jobs.hasDue(scope), jobs.unknownTypes(scope)]),
      clock,
    );
    if (unknownTypes.length > 0) logger.warn("job.unknown_types", { lane, unknownTypes });
    return { remaining, unknownTypes };
  } catch (error) {
    logger.warn("job.report_failed", { error: describeError(error).message });
  }
  return { remaining: true, unknownTypes: [] };
}
