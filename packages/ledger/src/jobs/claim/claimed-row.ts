import { priorityStepMs } from "../limits.ts";
import type { ClaimedJob, RecordedAttemptError } from "../job-store.ts";

/** A claimed job as a statement answers it. */
export interface ClaimedRow {
  readonly id: string;
  readonly tenantId: string;
  readonly type: string;
  readonly version: number;
  readonly payload: unknown;
  readonly priority: number;
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly crashes: number;
  readonly fence: string;
  /** Seconds since 1970. */
  readonly runAt: number;
  readonly correlationId: string | null;
  /** `null`: none. */
  readonly errors: readonly RecordedAttemptError[] | null;
}

/** The job that a row stands for. */
export function toClaimedJob(row: ClaimedRow): ClaimedJob {
  const { id, tenantId, type, version, payload, priority, attempt, maxAttempts, crashes } = row;
  const { fence, correlationId } = row;
  const runAt = new Date(Math.round(row.runAt * 1_000));
  const errors = row.errors ?? [];
  const job = { id, tenantId, type, version, payload, priority, attempt, maxAttempts, crashes };
  return { ...job, fence, runAt, correlationId, errors };
}

/** Every tenant's most urgent job, then every tenant's second, and so on: here, so that Postgres need not sort. */
export function interleaveTenants(jobs: readonly ClaimedJob[]): ClaimedJob[] {
  const met = new Map<string, number>();
  const turns = jobs.toSorted(byUrgency).map((job) => {
    const turn = met.get(job.tenantId) ?? 0;
    met.set(job.tenantId, turn + 1);
    return { job, turn };
  });
  return turns.toSorted((a, b) => a.turn - b.turn).map(({ job }) => job);
}

function byUrgency(a: ClaimedJob, b: ClaimedJob): number {
  const urgency = (job: ClaimedJob): number => job.runAt.getTime() - job.priority * priorityStepMs;
  return urgency(a) - urgency(b) || compareIds(a.id, b.id);
}

/** By their numbers: decimal texts without leading zeros. */
function compareIds(a: string, b: string): number {
  return a.length - b.length || (a < b ? -1 : 1);
}
