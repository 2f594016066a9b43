import { cpus } from "node:os";

/** A budget and what was measured. */
export interface Bar {
  readonly name: string;
  readonly target: string;
  readonly value: number;
  readonly ok: boolean;
}

/** What a benchmark prints. */
export interface BenchReport {
  readonly bars: readonly Bar[];
  /** Numbers without a budget. */
  readonly rows: readonly { readonly name: string; readonly value: number | string }[];
}

/** A bar that holds while the value is at most the limit. */
export function atMost(name: string, limit: number, value: number): Bar {
  return { name, target: `<= ${limit}`, value: round(value), ok: value <= limit };
}

/** A bar that holds while the value is at least the limit. */
export function atLeast(name: string, limit: number, value: number): Bar {
  return { name, target: `>= ${limit}`, value: round(value), ok: value >= limit };
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

/** Two decimals. */
export function round(value: number): number {
  return Math.round(value * 100) / 100;
}

/** Prints a report; with `json`, its last line is the report as one object. Answers whether every bar holds. */
export function printReport({ bars, rows }: BenchReport, json: boolean): boolean {
  const width = Math.max(...[...bars, ...rows].map(({ name }) => name.length));
  for (const { name, target, value, ok } of bars) {
    console.log(`${ok ? "ok    " : "MISSED"}  ${name.padEnd(width)}  ${value}  (${target})`);
  }
  for (const { name, value } of rows) console.log(`        ${name.padEnd(width)}  ${value}`);
  const machine = {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    node: process.version,
  };
  if (json) console.log(JSON.stringify({ bars, rows, machine }));
  return bars.every(({ ok }) => ok);
}
