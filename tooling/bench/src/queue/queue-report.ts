import { atLeast, atMost, round, type BenchReport, type TableLine } from "../report.ts";
import { limitName } from "./arena.ts";
import type { ClaimTimes } from "./claims.ts";
import type { Cost } from "./cost.ts";
import type { IdleClaims } from "./idle-transaction.ts";
import type { Pickup } from "./pickup.ts";
import type { Rates } from "./rates.ts";
import type { Size } from "./size.ts";

/** Everything that was measured, by contender where it was measured of each. */
export interface QueueFigures {
  readonly rates: ReadonlyMap<string, Rates>;
  readonly costs: ReadonlyMap<string, Cost>;
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
  const { rates, costs, pickups, idlePickup, idleDrains, idleClaims, claims, sizes } = figures;
  const share = (peer: string, what: "enqueued" | "drained"): number =>
    (rates.get("evenkeel")?.[what] ?? Number.NaN) / (rates.get(peer)?.[what] ?? Number.NaN);
  const line = <Figure>(
    name: string,
    of: ReadonlyMap<string, Figure>,
    read: (figure: Figure) => number | undefined,
    digits = 0,
  ): TableLine => ({
    name,
    values: names.map((column) => {
      const figure = of.get(column);
      return figure === undefined ? undefined : cut(read(figure), digits);
    }),
  });
  const long = count(amounts.claims.long);
  const short = count(amounts.claims.short);
  const finished = count(amounts.claims.finished);
  return {
    bars: [
      atLeast(
        "drained/s by graphile-worker's, batched",
        1,
        share("graphile-worker, batched", "drained"),
      ),
      atLeast("drained/s by pg-boss's", 1.5, share("pg-boss", "drained")),
      atLeast("enqueued/s by graphile-worker's", 1, share("graphile-worker", "enqueued")),
      atLeast("enqueued/s by pg-boss's", 1, share("pg-boss", "enqueued")),
      atMost("pickup at 300 jobs/s, p95 ms", 50, pickups.get("evenkeel")?.p95 ?? Number.NaN),
      atMost(
        `claim p95 over ${long} due jobs by that over ${short}`,
        1.5,
        claims.longP95 / claims.shortP95,
      ),
      atMost(
        `claim p95 with ${finished} finished jobs by that without`,
        1.5,
        claims.finishedP95 / claims.shortP95,
      ),
      atMost("claims until a small tenant is served", 2, figures.wait),
      atMost(
        "claim p95 with a transaction idle by that without",
        1.5,
        idleClaims.withP95 / idleClaims.withoutP95,
      ),
      atMost(
        "pickup p95 with a transaction idle by that without",
        1.5,
        idlePickup.p95 / (pickups.get("evenkeel")?.p95 ?? Number.NaN),
      ),
    ],
    rows: [
      { name: "share of the limit: enqueued/s", value: round(share(limitName, "enqueued")) },
      { name: "share of the limit: drained/s, no-op", value: round(share(limitName, "drained")) },
      { name: `claim p95 over ${short} due jobs, ms`, value: round(claims.shortP95) },
      { name: `claim p95 over ${long} due jobs, ms`, value: round(claims.longP95) },
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
    ],
    table: {
      columns: names,
      lines: [
        line("enqueued/s", rates, ({ enqueued }) => enqueued),
        line("drained/s, no-op", rates, ({ drained }) => drained),
        line("drained/s, of 1 ms", rates, ({ drainedOfOneMs }) => drainedOfOneMs),
        line("pickup p50, ms", pickups, ({ p50 }) => p50, 1),
        line("pickup p95, ms", pickups, ({ p95 }) => p95, 1),
        line("pickup p99, ms", pickups, ({ p99 }) => p99, 1),
        line("CPU of the host, s per 1,000 jobs", costs, ({ hostSeconds }) => hostSeconds, 3),
        line(
          "CPU of Postgres, s per 1,000 jobs",
          costs,
          ({ postgresSeconds }) => postgresSeconds,
          3,
        ),
        line("statements per 1,000 jobs", costs, ({ statements }) => statements, 1),
        line(
          `tables, ${count(amounts.size)} waiting, bytes per job`,
          sizes,
          (size) => size.waiting.tables,
        ),
        line("their indexes", sizes, (size) => size.waiting.indexes),
        line(
          "tables after those were drained, bytes per job",
          sizes,
          (size) => size.drained.tables,
        ),
        line("their indexes then", sizes, (size) => size.drained.indexes),
        line(
          `drained/s of ${count(amounts.idleDrain)} with a transaction idle, by that without`,
          idleDrains,
          (ratio) => ratio,
          2,
        ),
      ],
    },
  };
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
