import type { Lane } from "@evenkeel/core";
import type { ClaimedJob } from "@evenkeel/ledger";

/** A job that is handed over. */
export type IsolatedJob = Pick<
  ClaimedJob,
  "id" | "fence" | "tenantId" | "type" | "correlationId"
> & { readonly lane: Lane };

/** Asks for a run of each job. Rejects when not all may have been asked for. */
export type RequestRuns = (jobs: readonly IsolatedJob[]) => Promise<unknown>;
