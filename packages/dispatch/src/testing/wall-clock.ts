import fc from "fast-check";

const minuteMs = 60_000;
const dayMs = 86_400_000;

/** A stretch of time in which a zone keeps its distance from UTC. */
interface Stretch {
  readonly fromMs: number;
  readonly untilMs: number;
  /** Wall-clock time less UTC. */
  readonly offsetMs: number;
}

/** The local clock of a zone between two instants. */
export interface WallClock {
  readonly stretches: readonly Stretch[];
  /** When its distance from UTC changes. */
  readonly changes: readonly number[];
}

/** Reads a zone's local clock from `Intl`. Two changes within a day are taken for one. */
export function readWallClock(timeZone: string, fromMs: number, untilMs: number): WallClock {
  const format = new Intl.DateTimeFormat("en-US", {
    timeZone,
    hourCycle: "h23",
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
  });
  const offsetAt = (ms: number): number => {
    const parts = new Map(format.formatToParts(ms).map(({ type, value }) => [type, Number(value)]));
    const of = (type: Intl.DateTimeFormatPartTypes): number => parts.get(type) ?? Number.NaN;
    return Date.UTC(of("year"), of("month") - 1, of("day"), of("hour"), of("minute")) - ms;
  };
  const changes: number[] = [];
  const stretches: Stretch[] = [];
  let stretch = { fromMs: Number.NEGATIVE_INFINITY, offsetMs: offsetAt(fromMs) };
  for (let day = fromMs; day < untilMs; day += dayMs) {
    const offsetMs = offsetAt(day + dayMs);
    if (offsetMs === stretch.offsetMs) continue;
    let [before, after] = [day, day + dayMs];
    while (after - before > minuteMs) {
      const middle = before + Math.floor((after - before) / minuteMs / 2) * minuteMs;
      if (offsetAt(middle) === stretch.offsetMs) before = middle;
      else after = middle;
    }
    changes.push(after);
    stretches.push({ ...stretch, untilMs: after });
    stretch = { fromMs: after, offsetMs };
  }
  stretches.push({ ...stretch, untilMs: Number.POSITIVE_INFINITY });
  return { stretches, changes };
}

/** One field of a cron expression, and what it means. */
interface CronField {
  readonly text: string;
  readonly values: ReadonlySet<number>;
}

/** A cron expression, and what it means. */
export interface CronPattern {
  readonly minute: CronField;
  readonly hour: CronField;
  readonly dayOfMonth: CronField;
  readonly month: CronField;
  readonly dayOfWeek: CronField;
}

function fields(min: number, max: number): fc.Arbitrary<CronField> {
  const range = (from: number, to: number, step: number): number[] =>
    Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, n) => from + n * step);
  const value = fc.integer({ min, max });
  const ends = fc.tuple(value, value).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const);
  const step = fc.integer({ min: 1, max: max - min + 1 });
  const texts: fc.Arbitrary<readonly [string, number[]]>[] = [
    fc.constant(["*", range(min, max, 1)]),
    step.map((by) => [`*/${by}`, range(min, max, by)]),
    fc.uniqueArray(value, { minLength: 1, maxLength: 3 }).map((list) => [list.join(","), list]),
    ends.map(([from, to]) => [`${from}-${to}`, range(from, to, 1)]),
    fc.tuple(ends, step).map(([[from, to], by]) => [`${from}-${to}/${by}`, range(from, to, by)]),
  ];
  return fc.oneof(...texts).map(([text, list]) => ({ text, values: new Set(list) }));
}

const daysOfMonths = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/** Cron expressions of every form, each of which matches some day. */
export const cronPatterns: fc.Arbitrary<CronPattern> = fc
  .record({
    minute: fields(0, 59),
    hour: fields(0, 23),
    dayOfMonth: fields(1, 31),
    month: fields(1, 12),
    dayOfWeek: fields(0, 6),
  })
  .filter(({ dayOfMonth, month, dayOfWeek }) => {
    const first = Math.min(...dayOfMonth.values);
    const longest = Math.max(...[...month.values].map((of) => daysOfMonths[of - 1] ?? 0));
    return dayOfWeek.text !== "*" || first <= longest;
  });

/** Returns a pattern as text. */
export function textOf(pattern: CronPattern): string {
  const { minute, hour, dayOfMonth, month, dayOfWeek } = pattern;
  return [minute, hour, dayOfMonth, month, dayOfWeek].map(({ text }) => text).join(" ");
}

/**
 * Returns when a pattern matches from one instant to another, both included, in order. Hours and minutes that are named
 * come once: at the first of two, and after a gap that takes them. Of `*` and steps, what does not exist does not come,
 * and what comes twice matches twice.
 */
export function matchesBetween(
  pattern: CronPattern,
  { stretches }: WallClock,
  fromMs: number,
  untilMs: number,
): number[] {
  const { minute, hour } = pattern;
  const isNamed = !/[*/]/u.test(minute.text + hour.text);
  const found = new Set<number>();
  const firstDay = Math.floor((fromMs - dayMs) / dayMs) * dayMs;
  for (let day = firstDay; day <= untilMs + dayMs; day += dayMs) {
    if (!matchesDay(pattern, new Date(day))) continue;
    for (const h of hour.values) {
      for (const m of minute.values) {
        const local = day + (h * 60 + m) * minuteMs;
        const instants = stretches
          .filter((of) => local - of.offsetMs >= of.fromMs && local - of.offsetMs < of.untilMs)
          .map(({ offsetMs }) => local - offsetMs);
        const [first] = instants;
        if (!isNamed) for (const instant of instants) found.add(instant);
        else if (first !== undefined) found.add(first);
        else {
          const after = stretches.find(
            (of) => local < of.fromMs + of.offsetMs && local - of.offsetMs < of.fromMs,
          );
          const isSameDay = after !== undefined && after.fromMs + after.offsetMs < day + dayMs;
          if (isSameDay) found.add(after.fromMs);
        }
      }
    }
  }
  return [...found].filter((ms) => ms >= fromMs && ms <= untilMs).toSorted((a, b) => a - b);
}

/** Of a day of the month and a day of the week that are both given, one is enough. */
function matchesDay({ dayOfMonth, month, dayOfWeek }: CronPattern, day: Date): boolean {
  if (!month.values.has(day.getUTCMonth() + 1)) return false;
  const isDayOfMonth = dayOfMonth.values.has(day.getUTCDate());
  const isDayOfWeek = dayOfWeek.values.has(day.getUTCDay());
  if (dayOfWeek.text === "*") return isDayOfMonth;
  return dayOfMonth.text === "*" ? isDayOfWeek : isDayOfMonth || isDayOfWeek;
}
