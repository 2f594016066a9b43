/**
 * The points at which a host can die, by number. Each lies between two writes, or between a write and what it
 * is about: whoever comes after finds exactly what was written before it.
 */
export const crashPoints = {
  // A tick.
  beforeClaim: 1,
  claimedNotSent: 2,
  sentNotRecorded: 3,
  recordedNotAnswered: 4,
  // A run of a window.
  runDelivered: 5,
  runBegun: 6,
  guardTaken: 7,
  jobsClaimed: 8,
  jobsStarted: 16,
  effectsDone: 9,
  jobsSettled: 10,
  runFinished: 11,
  // An operator's redrive.
  lettersRequeued: 12,
  // The maintenance function.
  rowsPruned: 13,
  repairClaimedNotSent: 14,
  repairSentNotRecorded: 15,
} as const;

/** The name of a crash point. */
export type CrashPoint = keyof typeof crashPoints;

/** Where a tick can die. */
export const tickPoints: readonly CrashPoint[] = [
  "beforeClaim",
  "claimedNotSent",
  "sentNotRecorded",
  "recordedNotAnswered",
];

/** Where a run can die. */
export const runPoints: readonly CrashPoint[] = [
  "runDelivered",
  "runBegun",
  "guardTaken",
  "jobsClaimed",
  "jobsStarted",
  "effectsDone",
  "jobsSettled",
  "runFinished",
];

/** Where a reconciliation can die. */
export const repairPoints: readonly CrashPoint[] = [
  "repairClaimedNotSent",
  "repairSentNotRecorded",
];
