import { LedgerError } from "../database/ledger-error.ts";
import { retentionRules, type RetentionRule } from "./retention-rules.ts";

/**
 * How long rows are kept, in days, per table and status; `Infinity` keeps them for good. What is not named
 * here is never deleted: windows that are being dispatched or failed to, running runs, jobs that
 * are not settled, open dead letters.
 */
export interface RetentionPolicy {
  /** From the window's end or its last change, whichever is later. */
  readonly windows: Readonly<
    Record<"ENQUEUED" | "INLINE_EMERGENCY" | "MISSED" | "SKIPPED_OVERLAP", number>
  >;
  /** From when the holder took it. */
  readonly guards: Readonly<Record<"TAKEN", number>>;
  /** From the run's end, a stale one's last heartbeat; its attempts go with it. */
  readonly runs: Readonly<
    Record<"SUCCEEDED" | "FAILED" | "CANCELLED" | "SKIPPED_DUPLICATE" | "STALE", number>
  >;
  /** From the job's end. */
  readonly jobHistory: Readonly<Record<"SUCCEEDED" | "DEAD" | "CANCELLED", number>>;
  /** From when the call was begun last. */
  readonly effects: Readonly<Record<"RECORDED", number>>;
  /** From the enqueueing of the job that held the key last. */
  readonly uniqueKeys: Readonly<Record<"RECORDED", number>>;
  /** From the operator's decision. */
  readonly deadLetters: Readonly<Record<"REQUEUED" | "DISCARDED", number>>;
  /** From when the server took the event, or refused it. */
  readonly outbox: Readonly<Record<"SENT" | "REFUSED", number>>;
  /** From the decision that it records. */
  readonly audit: Readonly<Record<"RECORDED", number>>;
}

/** Changes to {@link defaultRetention}. */
export type RetentionChanges = {
  readonly [Table in keyof RetentionPolicy]?: Partial<RetentionPolicy[Table]>;
};

/** What is kept how long unless a host says otherwise: a month of what went well, a quarter of what did not. */
export const defaultRetention: RetentionPolicy = {
  windows: { ENQUEUED: 30, INLINE_EMERGENCY: 30, MISSED: 30, SKIPPED_OVERLAP: 30 },
  guards: { TAKEN: 30 },
  runs: { SUCCEEDED: 30, FAILED: 90, CANCELLED: 90, SKIPPED_DUPLICATE: 30, STALE: 90 },
  jobHistory: { SUCCEEDED: 30, DEAD: 90, CANCELLED: 90 },
  effects: { RECORDED: 30 },
  uniqueKeys: { RECORDED: 30 },
  deadLetters: { REQUEUED: 90, DISCARDED: 90 },
  outbox: { SENT: 30, REFUSED: 90 },
  audit: { RECORDED: 365 },
};

/**
 * The longest that a tick or a repair can come late, in milliseconds: 24 hours, as long as the cron handler
 * takes a scheduled time and the reconciler repairs a window by default.
 */
export const defaultLatenessMs: number = 24 * 60 * 60_000;

/** How long Inngest remembers an event's id, in milliseconds. */
const eventMemoryMs = 24 * 60 * 60_000;
const dayMs = 24 * 60 * 60_000;
/** A century: beyond it the database's calendar would end some day. */
const maxDays = 36_500;

/** A rule and for how many days it keeps its rows. */
export interface ResolvedRule {
  readonly rule: RetentionRule;
  readonly days: number;
}

/**
 * The rules that delete something, in the order in which they are applied, with their ages.
 *
 * @throws LedgerError `invalid_retention` with every problem at once, each by the setting's name.
 */
export function resolveRetention(
  changes: RetentionChanges = {},
  latenessMs: number = defaultLatenessMs,
): ResolvedRule[] {
  if (!(latenessMs >= 0 && Number.isFinite(latenessMs))) {
    throw new LedgerError(
      "invalid_retention",
      "The lateness must be a number of milliseconds from 0.",
      { latenessMs },
    );
  }
  const names = new Set(retentionRules.map(nameOf));
  const given = toAges(changes);
  const problems = [...given.keys()]
    .filter((name) => !names.has(name))
    .map((name) => `${name} is not a table and status that is ever deleted`);
  const ages = new Map([...toAges(defaultRetention), ...given]);
  const floorDays = (eventMemoryMs + latenessMs) / dayMs;
  for (const rule of retentionRules) {
    const problem = findProblem(rule, ages, floorDays);
    if (problem !== undefined) problems.push(`${nameOf(rule)} ${problem}`);
  }
  if (problems.length > 0) {
    throw new LedgerError("invalid_retention", `Invalid retention: ${problems.join("; ")}.`, {
      problems: problems.join("; "),
    });
  }
  return retentionRules
    .map((rule) => ({ rule, days: ages.get(nameOf(rule)) ?? Infinity }))
    .filter(({ days }) => days !== Infinity);
}

function findProblem(
  rule: RetentionRule,
  ages: ReadonlyMap<string, number>,
  floorDays: number,
): string | undefined {
  const days = ages.get(nameOf(rule)) ?? Number.NaN;
  if (!(days === Infinity || (days >= 0 && days <= maxDays))) {
    return `must be a number of days from 0 to ${maxDays}, or Infinity`;
  }
  if (rule.isDedupe && days < floorDays) {
    return `is ${days} days and must be at least ${floorDays}: 24 hours of Inngest's memory, and the lateness`;
  }
  const { outlives } = rule;
  const least = outlives === undefined ? 0 : (ages.get(outlives) ?? 0);
  return days < least
    ? `is ${days} days and must be at least the ${least} of ${outlives}, which it outlives`
    : undefined;
}

function nameOf({ table, status }: RetentionRule): string {
  return `${table}.${status}`;
}

/** The ages by `table.status`. */
function toAges(policy: RetentionChanges): Map<string, number> {
  return new Map(
    Object.entries(policy).flatMap(([table, statuses]) =>
      Object.entries(statuses ?? {})
        .filter((entry): entry is [string, number] => entry[1] !== undefined)
        .map(([status, days]): [string, number] => [`${table}.${status}`, days]),
    ),
  );
}
