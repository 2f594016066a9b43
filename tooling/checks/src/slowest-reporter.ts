import type { Reporter, TestModule } from "vitest/node";

import { slowFiles } from "./slowest-first.ts";

/** How many files and tests are named. */
const shown = 8;

/** Seconds that a file takes before it is worth to start it first. */
const worthListing = 10;

/** A name and how long it took, in seconds. */
interface Timing {
  readonly name: string;
  readonly seconds: number;
}

/** Names the slowest files and tests at the end of a run, so that what grows slow is seen when it does. */
export class SlowestReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    if (modules.length < 2) return;
    const { files, tests } = readTimings(modules);
    print("Slowest files", files);
    print("Slowest tests", tests);
    const unlisted = files.filter(
      ({ name, seconds }) => seconds >= worthListing && !slowFiles.includes(name),
    );
    if (modules.length < 50 || unlisted.length === 0) return;
    console.log(
      `Start them first (tooling/checks/src/slowest-first.ts): ${unlisted.map(({ name }) => name).join(", ")}`,
    );
  }
}

function readTimings(modules: readonly TestModule[]): { files: Timing[]; tests: Timing[] } {
  const files: Timing[] = [];
  const tests: Timing[] = [];
  for (const module of modules) {
    const { collectDuration, duration, environmentSetupDuration, prepareDuration, setupDuration } =
      module.diagnostic();
    const ms =
      collectDuration + duration + environmentSetupDuration + prepareDuration + setupDuration;
    files.push({ name: module.relativeModuleId, seconds: ms / 1_000 });
    for (const test of module.children.allTests()) {
      const seconds = (test.diagnostic()?.duration ?? 0) / 1_000;
      tests.push({ name: `${module.relativeModuleId} > ${test.fullName}`, seconds });
    }
  }
  return { files: slowest(files), tests: slowest(tests) };
}

function slowest(timings: readonly Timing[]): Timing[] {
  return timings.toSorted((one, other) => other.seconds - one.seconds).slice(0, shown);
}

function print(title: string, timings: readonly Timing[]): void {
  console.log(`\n ${title}`);
  for (const { name, seconds } of timings) {
    console.log(`${seconds.toFixed(1).padStart(7)} s  ${name}`);
  }
}
