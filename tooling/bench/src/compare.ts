import { spawnSync } from "node:child_process";
import { join, resolve } from "node:path";

import { percentile, round, type Row } from "./report.ts";

/** Figures of one bench by name, of one run. */
type Figures = ReadonlyMap<string, number>;

/**
 * Runs one bench of this checkout and of another in turn, and prints each figure's median of both with the
 * ratio of this one to the other: round by round, the lower quartile, the median and the upper quartile.
 * A figure that only one of them has is left out.
 *
 * @param folder The other checkout, installed and built.
 */
export function compareBuilds(name: string, folder: string, rounds: number): void {
  const other = resolve(folder);
  const pairs: { readonly ours: Figures; readonly theirs: Figures }[] = [];
  for (let index = 0; index < rounds; index += 1) {
    // Whoever goes first changes from round to round.
    const isFirst = index % 2 === 0;
    const first = runBench(isFirst ? "." : other, name);
    const second = runBench(isFirst ? other : ".", name);
    pairs.push(isFirst ? { ours: first, theirs: second } : { ours: second, theirs: first });
    console.error(`Round ${index + 1} of ${rounds} is done.`);
  }
  console.log("| figure | this | other | ratio: lower quartile | median | upper quartile |");
  console.log("| --- | --- | --- | --- | --- | --- |");
  for (const figure of pairs[0]?.ours.keys() ?? []) {
    const values = pairs.flatMap(({ ours, theirs }) => {
      const [mine, its] = [ours.get(figure), theirs.get(figure)];
      return mine === undefined || its === undefined ? [] : [{ mine, its }];
    });
    if (values.length === 0) continue;
    const ratios = values.map(({ mine, its }) => (mine === its ? 1 : mine / its));
    const cells = [
      percentile(
        values.map(({ mine }) => mine),
        0.5,
      ),
      percentile(
        values.map(({ its }) => its),
        0.5,
      ),
      ...[0.25, 0.5, 0.75].map((share) => percentile(ratios, share)),
    ];
    console.log(`| ${[figure, ...cells.map(round)].join(" | ")} |`);
  }
}

function runBench(folder: string, name: string): Figures {
  const script = join(folder, "tooling", "bench", "src", "main.ts");
  const { stdout } = spawnSync(
    process.execPath,
    [script, name, "--quick", "--json", "--rounds", "1"],
    {
      cwd: folder,
      encoding: "utf8",
      maxBuffer: 1 << 26,
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  // A missed bar is no failure here: the ratio is what is asked for.
  const report: unknown = JSON.parse(stdout.trim().split("\n").at(-1) ?? "");
  return new Map(
    readRows(report).flatMap(({ name: figure, value }) =>
      typeof value === "number" ? [[figure, value] as const] : [],
    ),
  );
}

function readRows(report: unknown): readonly Row[] {
  if (typeof report === "object" && report !== null && "bars" in report && "rows" in report) {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- printed by printReport, of this build or an older one
    return [...(report.bars as Row[]), ...(report.rows as Row[])];
  }
  throw new Error("The bench printed no report.");
}
