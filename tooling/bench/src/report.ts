import { cpus } from "node:os";

/** A budget and what was measured. */
export interface Bar {
  readonly name: string;
  readonly target: string;
  readonly value: number;
  readonly ok: boolean;
  /** The figures that the value comes from. */
  readonly figures?: string;
}

/** What a benchmark prints. */
export interface BenchReport {
  readonly bars: readonly Bar[];
  /** Numbers without a budget. */
  readonly rows: readonly Row[];
  /** Numbers of several subjects side by side. */
  readonly table?: Table;
}

/** A number without a budget. */
export interface Row {
  readonly name: string;
  readonly value: number | string;
}

/** A line's values stand in the order of the columns. */
export interface Table {
  readonly columns: readonly string[];
  readonly lines: readonly TableLine[];
  /** What the names of the lines are; nothing by default. */
  readonly corner?: string;
}

/** What was measured of each; `undefined` where it was not. */
export interface TableLine {
  readonly name: string;
  readonly values: readonly (number | undefined)[];
}

/** A bar that holds while the value is at most the limit. */
export function atMost(name: string, limit: number, value: number, figures?: string): Bar {
  const bar = { name, target: `<= ${limit}`, value: round(value), ok: value <= limit };
  return figures === undefined ? bar : { ...bar, figures };
}

/** A bar that holds while the value is below the limit. */
export function below(name: string, limit: number, value: number, figures?: string): Bar {
  const bar = { name, target: `< ${limit}`, value: round(value), ok: value < limit };
  return figures === undefined ? bar : { ...bar, figures };
}

/** A bar that holds while the value is at least the limit. */
export function atLeast(name: string, limit: number, value: number, figures?: string): Bar {
  const bar = { name, target: `>= ${limit}`, value: round(value), ok: value >= limit };
  return figures === undefined ? bar : { ...bar, figures };
}

/** A bar that holds when the value is exactly this. */
export function exactly(name: string, expected: number, value: number): Bar {
  return { name, target: `= ${expected}`, value, ok: value === expected };
}

/** The value below which this share of the sorted samples lies. */
export function percentile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** The lower quartile, the median and the upper quartile of what several rounds gave. */
export interface Quartiles {
  readonly lower: number;
  readonly median: number;
  readonly upper: number;
}

/** Returns the quartiles of samples in any order; of none, `NaN`. */
export function quartilesOf(samples: readonly number[]): Quartiles {
  return {
    lower: percentile(samples, 0.25),
    median: percentile(samples, 0.5),
    upper: percentile(samples, 0.75),
  };
}

/** Two decimals. */
export function round(value: number): number {
  return Math.round(value * 100) / 100;
}

/** Prints a report; with `json`, its last line is the report as one object. Answers whether every bar holds. */
export function printReport({ bars, rows, table }: BenchReport, json: boolean): boolean {
  const width = Math.max(...[...bars, ...rows].map(({ name }) => name.length));
  for (const { name, target, value, ok, figures } of bars) {
    const known = figures === undefined ? target : `${target}; ${figures}`;
    console.log(`${ok ? "ok    " : "MISSED"}  ${name.padEnd(width)}  ${value}  (${known})`);
  }
  for (const { name, value } of rows) console.log(`        ${name.padEnd(width)}  ${value}`);
  if (table !== undefined) printTable(table);
  const machine = {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    node: process.version,
  };
  const all = [...rows, ...(table === undefined ? [] : toRows(table))];
  if (json) console.log(JSON.stringify({ bars, rows: all, machine }));
  return bars.every(({ ok }) => ok);
}

/** As Markdown. */
function printTable({ columns, lines, corner = "" }: Table): void {
  const cells = [
    [corner, ...columns],
    ["---", ...columns.map(() => "---")],
    ...lines.map(({ name, values }) => [
      name,
      ...values.map((value) => value?.toLocaleString("en-US") ?? "–"),
    ]),
  ];
  console.log();
  for (const line of cells) console.log(`| ${line.join(" | ")} |`);
}

function toRows({ columns, lines }: Table): Row[] {
  return lines.flatMap(({ name, values }) =>
    values.flatMap((value, index) =>
      value === undefined ? [] : [{ name: `${columns[index] ?? ""}: ${name}`, value }],
    ),
  );
}
