import { LedgerError } from "../database/ledger-error.ts";
import { defaultLatenessMs, defaultRetention, type RetentionChanges } from "./retention-policy.ts";
import { retentionRules, type RetentionRule } from "./retention-rules.ts";

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
 * Returns the rules that delete something, in the order in which they are applied, with their ages.
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
  const leastDays = (eventMemoryMs + latenessMs) / dayMs;
  for (const rule of retentionRules) {
    const problem = findProblem(rule, ages, leastDays);
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
  leastDays: number,
): string | undefined {
  const days = ages.get(nameOf(rule)) ?? Number.NaN;
  if (!(days === Infinity || (days >= 0 && days <= maxDays))) {
    return `must be a number of days from 0 to ${maxDays}, or Infinity`;
  }
  if (rule.isDedupe && days < leastDays) {
    return `is ${days} days and must be at least ${leastDays}: 24 hours of Inngest's memory, and the lateness`;
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
