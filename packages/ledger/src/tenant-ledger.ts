import type { Scope } from "./database/tenant-scope.ts";
import {
  createTenantDeadLetters,
  type TenantDeadLetters,
} from "./dead-letters/tenant-dead-letter.ts";
import { createJobChanges, type JobChanges } from "./jobs/changes/job-changes.ts";
import { createScopedEffects, type ScopedEffects } from "./jobs/effect-records.ts";
import { createTenantJobs, type TenantJobs } from "./jobs/tenant-job.ts";
import { createTenantRuns, type TenantRuns } from "./runs/tenant-run.ts";
import { readTenantReceipt, type TenantReceipt } from "./windows/tenant-receipt.ts";

/**
 * What one tenant may see and do: its own rows and no others, and of these its work: what it is, where it stands and
 * why it failed. Who runs it, who decided about it, and where in the code it failed are for operators.
 */
export interface TenantLedger {
  readonly jobs: TenantJobs & JobChanges;
  /** What its jobs did outside the database. */
  readonly effects: ScopedEffects;
  readonly runs: TenantRuns;
  readonly deadLetters: TenantDeadLetters;
  /** What became of a window of this tenant; `undefined` for any other. */
  receipt(dispatchKey: string): Promise<TenantReceipt | undefined>;
}

/** Returns the ledger as one tenant sees it. */
export function createTenantLedger(scope: Scope): TenantLedger {
  return {
    jobs: { ...createTenantJobs(scope), ...createJobChanges(scope, "tenant") },
    effects: createScopedEffects(scope),
    runs: createTenantRuns(scope),
    deadLetters: createTenantDeadLetters(scope),
    receipt: (dispatchKey) => readTenantReceipt(scope, dispatchKey),
  };
}
