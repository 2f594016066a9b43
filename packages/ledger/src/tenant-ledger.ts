import type { Scope } from "./database/tenant-scope.ts";
import {
  createScopedDeadLetters,
  type ScopedDeadLetters,
} from "./dead-letters/dead-letter-records.ts";
import { createScopedEffects, type ScopedEffects } from "./jobs/effect-records.ts";
import { createScopedJobs, type ScopedJobs } from "./jobs/job-records.ts";
import { createScopedRuns, type ScopedRuns } from "./runs/run-records.ts";
import { readReceipt, type WindowReceipt } from "./windows/receipt.ts";

/** What one tenant may see and do: its own rows and no others. */
export interface TenantLedger {
  readonly jobs: ScopedJobs;
  /** What its jobs did outside the database. */
  readonly effects: ScopedEffects;
  readonly runs: ScopedRuns;
  readonly deadLetters: ScopedDeadLetters;
  /** What became of a window of this tenant; `undefined` for any other. */
  receipt(dispatchKey: string): Promise<WindowReceipt | undefined>;
}

/** Returns the ledger as one tenant sees it. */
export function createTenantLedger(scope: Scope): TenantLedger {
  return {
    jobs: createScopedJobs(scope, "tenant"),
    effects: createScopedEffects(scope),
    runs: createScopedRuns(scope),
    deadLetters: createScopedDeadLetters(scope),
    receipt: (dispatchKey) => readReceipt(scope, dispatchKey),
  };
}
