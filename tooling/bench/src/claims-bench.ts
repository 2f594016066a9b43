import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";

import { startPostgres } from "@evenkeel/test-postgres";

import { reportClaims } from "./claims-report.ts";
import type { Figure } from "./claims/scenario.ts";
import { scenarios } from "./claims/scenarios.ts";
import type { BenchReport } from "./report.ts";

/**
 * Measures the claim, scenario by scenario, each in a process and in databases of its own on one durable Postgres. With
 * another checkout, both builds measure one scenario after the other before the next scenario begins, and who goes first
 * changes from one to the next.
 *
 * @param only Part of the names of the scenarios to measure; all by default.
 * @param against The other checkout's folder, installed, built, and with a copy of `tooling/bench/src/claims`.
 */
export async function benchClaims({
  quick,
  only,
  against,
  rounds,
}: {
  readonly quick: boolean;
  readonly only?: string | undefined;
  readonly against?: string | undefined;
  readonly rounds: number;
}): Promise<BenchReport> {
  const builds = [
    { folder: process.cwd(), values: new Map<string, number[]>() },
    ...(against === undefined
      ? []
      : [{ folder: resolve(against), values: new Map<string, number[]>() }]),
  ];
  for (const { folder } of builds) requireScript(folder);
  const chosen = scenarios.filter(({ name }) => name.includes(only ?? ""));
  if (chosen.length === 0) {
    throw new Error(
      `No scenario is called ${only}: ${scenarios.map(({ name }) => name).join(", ")}.`,
    );
  }
  const cluster = await startPostgres({ durable: true });
  try {
    for (let index = 0; index < rounds; index += 1) {
      for (const [place, { name }] of chosen.entries()) {
        const isFirst = (index + place) % 2 === 0;
        for (const { folder, values } of isFirst ? builds : builds.toReversed()) {
          for (const figure of measure(folder, name, cluster.url(), quick)) {
            values.set(figure.name, [...(values.get(figure.name) ?? []), figure.value]);
          }
        }
      }
      console.error(`Round ${index + 1} of ${rounds} is done.`);
    }
  } finally {
    await cluster.stop();
  }
  const [ours, theirs] = builds.map(({ values }) => values);
  return reportClaims(ours ?? new Map(), theirs);
}

function scriptOf(folder: string): string {
  return join(folder, "tooling", "bench", "src", "claims", "measure.ts");
}

function requireScript(folder: string): void {
  if (existsSync(scriptOf(folder))) return;
  throw new Error(
    `${folder} has no tooling/bench/src/claims: copy that folder there; only its bench-queue.ts knows the ledger.`,
  );
}

function measure(folder: string, name: string, serverUrl: string, quick: boolean): Figure[] {
  const args = [scriptOf(folder), name, serverUrl, ...(quick ? ["--quick"] : [])];
  const { status, stdout } = spawnSync(process.execPath, args, {
    cwd: folder,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (status !== 0) throw new Error(`${folder} could not measure ${name}.`);
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- printed by measure.ts, of this build or another one
  return JSON.parse(stdout.trim().split("\n").at(-1) ?? "[]") as Figure[];
}
