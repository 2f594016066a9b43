import { cpus } from "node:os";

import {
  atLeast,
  atMost,
  below,
  percentile,
  quartilesOf,
  round,
  type Bar,
  type BenchReport,
  type Row,
  type TableLine,
} from "../report.ts";
import { contenderNames, limitName, type ContenderName } from "./arena.ts";
import type { ClaimTimes } from "./claims.ts";
import type { HandlerCost } from "./handler-cost.ts";
import type { IdleClaims } from "./idle-transaction.ts";
import type { Pickup } from "./pickup.ts";
import type { Rates } from "./rates.ts";
import type { Size } from "./size.ts";
import type { ProcessRates } from "./worker-processes.ts";

/** Everything that was measured, by contender where it was measured of each. */
export interface QueueFigures {
  readonly rates: ReadonlyMap<string, Rates>;
  /** Per 1,000 jobs. */
  readonly statements: ReadonlyMap<string, number>;
  readonly processes: ProcessRates;
  readonly handlerCost: HandlerCost;
  readonly pickups: ReadonlyMap<string, Pickup>;
  readonly idlePickup: Pickup;
  readonly idleDrains: ReadonlyMap<string, number>;
  readonly idleClaims: IdleClaims;
  readonly claims: ClaimTimes;
  readonly wait: number;
  readonly sizes: ReadonlyMap<string, Size>;
}

/** The amounts that the names of lines and rows state. */
interface Amounts {
  readonly claims: { readonly short: number; readonly long: number; readonly finished: number };
  readonly idleClaims: number;
  readonly idleDrain: number;
  readonly size: number;
}

/** Lays the figures out: bars, the table with a column for each queue, and what is ours alone. */
export function toReport(
  names: readonly string[],
  figures: QueueFigures,
  amounts: Amounts,
): BenchReport {
  return {
    bars: [...rateBars(figures), ...claimBars(figures, amounts)],
    rows: [...ratioRows(figures.rates), ...handlerRows(figures), ...claimRows(figures, amounts)],
    table: { columns: names, lines: toLines(names, figures, amounts) },
  };
}

const [ours, ...peers] = contenderNames;

/** A figure of ours by that of another, round by round. */
function ratiosOf(
  rates: ReadonlyMap<string, Rates>,
  other: ContenderName | typeof limitName,
  figure: keyof Rates,
): number[] {
  const others = rates.get(other)?.[figure] ?? [];
  return (rates.get(ours)?.[figure] ?? []).map((value, index) => value / (others[index] ?? 0));
}

function rateBars({ rates, processes, pickups }: QueueFigures): Bar[] {
  /** Judged by the lower quartile of the rounds' ratios. */
  const faster = (
    other: ContenderName | typeof limitName,
    figure: "enqueued" | "drained",
    limit: number,
    name = `${figure}/s by ${other}'s, lower quartile`,
  ): Bar => {
    const ratios = ratiosOf(rates, other, figure);
    const both = [ours, other].map((of) => median(rates.get(of)?.[figure]).toFixed(0));
    return atLeast(
      name,
      limit,
      quartilesOf(ratios).lower,
      `${inQuartiles(ratios)}; medians ${both.join(" and ")}`,
    );
  };
  /** Judged by the upper quartile. */
  const cheaper = (peer: ContenderName): Bar => {
    const ratios = ratiosOf(rates, peer, "postgresSeconds");
    return below(
      `CPU of Postgres per job by ${peer}'s, upper quartile`,
      1,
      quartilesOf(ratios).upper,
      inQuartiles(ratios),
    );
  };
  const scaling = processes.byFour.map((value, index) => value / (processes.byOne[index] ?? 0));
  const medians = [processes.byOne, processes.byFour].map((values) => median(values).toFixed(0));
  const cores = [processes.coresOfOne, processes.coresOfFour].map((busy) => round(median(busy)));
  return [
    faster("pg-boss", "drained", 1.5),
    faster("BullMQ", "drained", 2),
    faster("graphile-worker, batched", "drained", 1.5),
    faster(limitName, "drained", 0.5, "share of two bare statements, drained/s, lower quartile"),
    faster("graphile-worker", "enqueued", 1),
    faster("pg-boss", "enqueued", 1),
    ...peers.map(cheaper),
    atLeast(
      "drained/s by 4 worker processes by that of 1, lower quartile",
      1.3,
      quartilesOf(scaling).lower,
      `${inQuartiles(scaling)}; medians ${medians[1]} and ${medians[0]}; ` +
        `1 keeps ${cores[0]} of ${cpus().length} cores busy, 4 keep ${cores[1]}`,
    ),
    atMost("pickup at 300 jobs/s, p95 ms", 50, pickups.get(ours)?.p95 ?? Number.NaN),
  ];
}

function claimBars(
  { claims, wait, idleClaims, idlePickup, pickups }: QueueFigures,
  amounts: Amounts,
): Bar[] {
  return [
    atMost(
      `claim p95 over ${count(amounts.claims.long)} due jobs by that over ${count(amounts.claims.short)}`,
      1.5,
      claims.longP95 / claims.shortP95,
    ),
    atMost(
      `claim p95 with ${count(amounts.claims.finished)} finished jobs by that without`,
      1.1,
      claims.finishedP95 / claims.shortP95,
    ),
    atMost("claims until a small tenant is served", 2, wait),
    atMost(
      "claim p95 with a transaction idle by that without",
      1.5,
      idleClaims.withP95 / idleClaims.withoutP95,
    ),
    atMost(
      "pickup p95 with a transaction idle by that without",
      1.5,
      idlePickup.p95 / (pickups.get(ours)?.p95 ?? Number.NaN),
    ),
  ];
}

/** How far the rounds' ratios lie apart. */
function ratioRows(rates: ReadonlyMap<string, Rates>): Row[] {
  const others = [...peers, limitName] as const;
  const row = (other: (typeof others)[number], figure: "enqueued" | "drained"): Row => ({
    name: `${figure}/s by ${other}'s`,
    value: inQuartiles(ratiosOf(rates, other, figure)),
  });
  return [
    ...others.map((other) => row(other, "drained")),
    ...others.map((other) => row(other, "enqueued")),
  ];
}

function handlerRows({ handlerCost, processes }: QueueFigures): Row[] {
  return [
    { name: "effects.once, ms added per job of a drain", value: roundFinely(handlerCost.once) },
    { name: "completeIn, ms added per job of a drain", value: roundFinely(handlerCost.completeIn) },
    { name: "drained/s by 1 worker process", value: Math.round(median(processes.byOne)) },
    { name: "drained/s by 4 worker processes", value: Math.round(median(processes.byFour)) },
  ];
}

function claimRows(
  { claims, idleClaims, idlePickup }: QueueFigures,
  amounts: Amounts,
): readonly Row[] {
  const short = count(amounts.claims.short);
  const finished = count(amounts.claims.finished);
  return [
    { name: `claim p95 over ${short} due jobs, ms`, value: round(claims.shortP95) },
    {
      name: `claim p95 over ${count(amounts.claims.long)} due jobs, ms`,
      value: round(claims.longP95),
    },
    {
      name: `claim p95 over ${short} due and ${finished} finished jobs, ms`,
      value: round(claims.finishedP95),
    },
    {
      name: `claim p95 while ${count(amounts.idleClaims)} drain, ms`,
      value: round(idleClaims.withoutP95),
    },
    { name: "the same with a transaction idle, ms", value: round(idleClaims.withP95) },
    { name: "claim p50 by fifths of that drain, ms", value: series(idleClaims.withoutFifths) },
    {
      name: "the same by fifths with a transaction idle, ms",
      value: series(idleClaims.withFifths),
    },
    { name: "pickup p95 with a transaction idle, ms", value: round(idlePickup.p95) },
  ];
}

function toLines(
  names: readonly string[],
  { rates, statements, pickups, sizes, idleDrains }: QueueFigures,
  amounts: Amounts,
): TableLine[] {
  const line = <Of>(
    name: string,
    of: ReadonlyMap<string, Of>,
    read: (figures: Of) => number | undefined,
    digits = 0,
  ): TableLine => ({
    name,
    values: names.map((column) => {
      const figures = of.get(column);
      return figures === undefined ? undefined : cut(read(figures), digits);
    }),
  });
  const rateLine = (name: string, figure: keyof Rates, digits = 0): TableLine =>
    line(name, rates, (of) => (of[figure].length > 0 ? median(of[figure]) : undefined), digits);
  return [
    rateLine("enqueued/s", "enqueued"),
    rateLine("drained/s, no-op", "drained"),
    rateLine("drained/s, of 1 ms", "drainedOfOneMs"),
    line("pickup p50, ms", pickups, ({ p50 }) => p50, 1),
    line("pickup p95, ms", pickups, ({ p95 }) => p95, 1),
    line("pickup p99, ms", pickups, ({ p99 }) => p99, 1),
    rateLine("CPU of the host, s per 1,000 jobs", "hostSeconds", 3),
    rateLine("CPU of Postgres, s per 1,000 jobs", "postgresSeconds", 3),
    line("statements per 1,000 jobs", statements, (calls) => calls, 1),
    line(
      `tables, ${count(amounts.size)} waiting, bytes per job`,
      sizes,
      (size) => size.waiting.tables,
    ),
    line("their indexes", sizes, (size) => size.waiting.indexes),
    line("tables after those were drained, bytes per job", sizes, (size) => size.drained.tables),
    line("their indexes then", sizes, (size) => size.drained.indexes),
    line(
      `drained/s of ${count(amounts.idleDrain)} with a transaction idle, by that without`,
      idleDrains,
      (ratio) => ratio,
      2,
    ),
  ];
}

function median(values: readonly number[] | undefined): number {
  return percentile(values ?? [], 0.5);
}

/** The lower quartile, the median and the upper quartile. */
function inQuartiles(values: readonly number[]): string {
  const { lower, median: middle, upper } = quartilesOf(values);
  return `quartiles ${round(lower)} ${round(middle)} ${round(upper)}`;
}

/** A median of milliseconds per job, which may be a fraction of one. */
function roundFinely(values: readonly number[]): number {
  return Number(median(values).toFixed(3));
}

function cut(value: number | undefined, digits: number): number | undefined {
  return value === undefined ? undefined : Number(value.toFixed(digits));
}

function count(value: number): string {
  return value.toLocaleString("en-US");
}

function series(values: readonly number[]): string {
  return values.map((value) => round(value)).join(" ");
}
