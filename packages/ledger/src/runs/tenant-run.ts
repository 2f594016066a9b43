import type { Scope } from "../database/tenant-scope.ts";
import { createScopedRuns, type RunFilter, type RunRecord } from "./run-records.ts";
import type { RunIdentity } from "./run.ts";

/** A run as its tenant sees it: without the workers that ran it. */
export interface TenantRunRecord extends Omit<RunRecord, "owner" | "attempts"> {
  readonly attempts: readonly TenantRunAttempt[];
}

/** An attempt of a run, as its tenant sees it. */
export type TenantRunAttempt = Omit<RunRecord["attempts"][number], "owner">;

/** A tenant's runs. A run of a global dispatch is no tenant's. */
export interface TenantRuns {
  find(run: RunIdentity): Promise<TenantRunRecord | undefined>;
  /** The newest first. */
  list(filter?: RunFilter): Promise<TenantRunRecord[]>;
}

/** Returns the runs of a tenant's scope. */
export function createTenantRuns(scope: Scope): TenantRuns {
  const runs = createScopedRuns(scope);
  return {
    find: async (identity) => {
      const run = await runs.find(identity);
      return run === undefined ? undefined : toTenantRun(run);
    },
    list: async (filter) => (await runs.list(filter)).map(toTenantRun),
  };
}

function toTenantRun({ owner: _owner, attempts, ...run }: RunRecord): TenantRunRecord {
  return { ...run, attempts: attempts.map(({ attempt, error }) => ({ attempt, error })) };
}
