import { expect, test } from "vitest";

import { reportClaims } from "./claims-report.ts";
import { backlogRatios } from "./claims/backlogs.ts";
import { drainName, rateName } from "./claims/drain.ts";
import { limitFigures } from "./claims/limits.ts";

const large = rateName(drainName(2_000, 2));
const medium = rateName(drainName(500, 2));
const short = "limits: claims not full";

test("a rate is judged by the median of the rounds' ratios, each of two neighbours in time", () => {
  // The machine was half as fast in the last two rounds.
  const ours = new Map([[medium, [120, 118, 121, 60, 61]]]);
  const theirs = new Map([[medium, [100, 100, 100, 50, 50]]]);
  const { bars, table } = reportClaims(ours, theirs);
  expect(bars).toMatchObject([{ target: ">= 1.15", value: 1.2, ok: true }]);
  expect(table?.lines).toEqual([{ name: medium, values: [118, 100, 1.2, 1.2, 1.21] }]);
});

test("what has to be as fast may be slower by the noise of the machine, and by no more", () => {
  const barOf = (rate: number) =>
    reportClaims(new Map([[large, [rate]]]), new Map([[large, [100]]])).bars[0];
  expect(barOf(96)).toMatchObject({ value: 0.96, ok: true });
  expect(barOf(94)).toMatchObject({ value: 0.94, ok: false });
});

test("claims under limits must not be slower than the other build's", () => {
  const [none = ""] = limitFigures.medians;
  const { bars } = reportClaims(new Map([[none, [5, 6, 7]]]), new Map([[none, [5, 5, 5]]]));
  expect(bars).toMatchObject([{ target: "<= 1", value: 1.2, ok: false }]);
});

test("what was not measured has no bar, and a claim that was not full misses one", () => {
  const ours = new Map([
    [backlogRatios.tomorrow, [1.2, 1.4, 1.25]],
    [short, [0, 0, 1]],
  ]);
  const { bars, rows } = reportClaims(ours, undefined);
  expect(bars).toMatchObject([
    { name: backlogRatios.tomorrow, value: 1.25, ok: true },
    { name: "claims not full", value: 1, ok: false },
  ]);
  expect(rows.map(({ name }) => name)).toContain(short);
  expect(reportClaims(new Map([[short, [0]]]), undefined).rows).toEqual([]);
});

test("a figure that only this build has stands without a ratio", () => {
  const start = "drain 2 x 500: start, ms per 1,000 jobs";
  const { table } = reportClaims(new Map([[start, [3]]]), new Map());
  expect(table?.lines).toEqual([
    { name: start, values: [3, undefined, undefined, undefined, undefined] },
  ]);
});
