import { BaseSequencer, type TestSpecification } from "vitest/node";

/**
 * The files that take longest, the slowest first. They start before all others, so that no worker is left alone with
 * one of them at the end. The reporter names the files that belong here.
 */
export const slowFiles: readonly string[] = [
  "apps/worker/src/worker.test.ts",
  "packages/dispatch/src/lifecycle-model.test.ts",
  "packages/engine/src/fuzz.test.ts",
  "packages/ledger/src/retention/pruning.test.ts",
  "packages/ledger/src/retention/pruning-repetition.test.ts",
  "packages/ledger/src/jobs/limits.test.ts",
  "packages/ledger/src/database/silent-network.test.ts",
  "packages/inbox/src/inbox.test.ts",
  "packages/jobs/src/runner/recovery.test.ts",
  "packages/jobs/src/runner/idle-timeout.test.ts",
  "packages/functions/src/process-function.test.ts",
  "packages/ledger/src/jobs/effects.test.ts",
];

/** Starts the slowest files first, on a fresh clone as well, where vitest knows no durations yet. */
export class SlowestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    // oxlint-disable-next-line unicorn/no-array-sort -- the sequencer's own, which returns a new array
    const sorted = await super.sort(files);
    return sorted.toSorted((one, other) => placeOf(one) - placeOf(other));
  }
}

function placeOf({ moduleId }: TestSpecification): number {
  const place = slowFiles.findIndex((file) => moduleId.endsWith(`/${file}`));
  return place === -1 ? slowFiles.length : place;
}
