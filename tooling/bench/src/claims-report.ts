import { backlogRatios } from "./claims/backlogs.ts";
import { drainName, idleGrowth, rateName } from "./claims/drain.ts";
import { limitFigures } from "./claims/limits.ts";
import {
  atLeast,
  atMost,
  exactly,
  percentile,
  quartilesOf,
  round,
  type Bar,
  type BenchReport,
} from "./report.ts";

/** The values of each figure, by round. */
export type ClaimRounds = ReadonlyMap<string, readonly number[]>;

/** What a figure of this build may be at most, whatever another build does. */
const ownLimits: readonly (readonly [figure: string, limit: number])[] = [
  [backlogRatios.long, 1.5],
  [backlogRatios.tomorrow, 1.3],
  [backlogRatios.becomingDue, 1.3],
  [idleGrowth, 1.25],
  [backlogRatios.types, 2],
  [backlogRatios.unknown, 1.3],
  ...limitFigures.ratios.map((figure) => [figure, 1.5] as const),
  [limitFigures.atCap, 500],
];

/** Which rates have to be how many times the other build's. 1 allows for the noise of the machine. */
const wantedRates: readonly (readonly [figure: string, least: number])[] = [
  [rateName(drainName(2_000, 2)), 1],
  [rateName(drainName(500, 2)), 1.15],
  [rateName(drainName(100, 1)), 1.2],
];

/** As good as equal. */
const noise = 0.05;

const notFull = "claims not full";

/**
 * Lays out what was measured: medians of the rounds; with another build, both medians and the quartiles of the rounds'
 * ratios of this build to the other.
 */
export function reportClaims(ours: ClaimRounds, theirs: ClaimRounds | undefined): BenchReport {
  // What stands in no claim's way is said in a bar alone.
  const shown = [...ours].filter(
    ([name, values]) => !(name.endsWith(notFull) && values.every((value) => value === 0)),
  );
  if (theirs === undefined) {
    const rows = shown.map(([name, values]) => ({ name, value: round(percentile(values, 0.5)) }));
    return { bars: ownBars(ours), rows };
  }
  return {
    bars: [...barsAgainst(ours, theirs), ...ownBars(ours)],
    rows: [],
    table: {
      columns: ["this", "other", "ratio: lower quartile", "median", "upper quartile"],
      lines: shown.map(([name, values]) => {
        const { lower, median, upper } = quartilesOf(ratiosOf(name, ours, theirs));
        const others = theirs.get(name) ?? [];
        const cells = [percentile(values, 0.5), percentile(others, 0.5), lower, median, upper];
        return {
          name,
          values: cells.map((cell) => (Number.isNaN(cell) ? undefined : round(cell))),
        };
      }),
    },
  };
}

/** The bars of what was measured. */
function ownBars(ours: ClaimRounds): Bar[] {
  const bars = ownLimits.flatMap(([name, limit]) => {
    const values = ours.get(name);
    return values === undefined
      ? []
      : [atMost(name, limit, percentile(values, 0.5), inWords(values))];
  });
  const short = [...ours].flatMap(([name, values]) => (name.endsWith(notFull) ? values : []));
  return short.length === 0
    ? bars
    : [
        ...bars,
        exactly(
          notFull,
          0,
          short.reduce((sum, value) => sum + value, 0),
        ),
      ];
}

function barsAgainst(ours: ClaimRounds, theirs: ClaimRounds): Bar[] {
  const rates = wantedRates.flatMap(([name, least]) => {
    const ratios = ratiosOf(name, ours, theirs);
    if (ratios.length === 0) return [];
    const median = percentile(ratios, 0.5);
    const bar = atLeast(`${name}, by the other build's`, least, median, inWords(ratios));
    if (least !== 1) return [bar];
    return [{ ...bar, target: `>= 1, fails below ${1 - noise}`, ok: median >= 1 - noise }];
  });
  const claims = limitFigures.medians.flatMap((name) => {
    const ratios = ratiosOf(name, ours, theirs);
    if (ratios.length === 0) return [];
    return [atMost(`${name}, by the other build's`, 1, percentile(ratios, 0.5), inWords(ratios))];
  });
  return [...rates, ...claims];
}

/** This build's values by the other's, round by round. */
function ratiosOf(name: string, ours: ClaimRounds, theirs: ClaimRounds): number[] {
  const others = theirs.get(name);
  return (ours.get(name) ?? []).flatMap((value, index) => {
    const other = others?.[index];
    return other === undefined ? [] : [value === other ? 1 : value / other];
  });
}

function inWords(values: readonly number[]): string {
  return `rounds ${values.map(round).join(" ")}`;
}
