import type { ClaimedJob, Settlement } from "@evenkeel/ledger";

import type { Host } from "./host.ts";
import type { MirroredLedger } from "./mirrored-ledger.ts";
import { settings } from "./settings.ts";

/** How the attempts at a job end. */
export type JobManner = "succeeds" | "fails once" | "is hopeless" | "has one attempt";

/** What a worker is called for. */
export interface WorkerRun {
  readonly runId: string;
  readonly dispatchKey: string;
  readonly types: readonly string[];
  /** Jobs whose effect took place. */
  readonly effects: Set<number>;
  /** Called as the handler of a job starts. */
  readonly onStart: (job: number) => void;
}

/** What the process function does for a window, in the order in which it writes. */
export async function workWindow(
  ledger: MirroredLedger,
  host: Host,
  { runId, dispatchKey, types, effects, onStart }: WorkerRun,
): Promise<void> {
  const run = { runId, functionId: "model" };
  const owner = host.name;
  const begun = await ledger.runs.begin({
    ...run,
    dispatchKey,
    eventName: "background/process.requested",
    owner,
    attempt: 0,
  });
  if (begun === undefined) return;
  const guard = await ledger.guards.take({ ...run, dispatchKey, continuation: 0 });
  if (guard.outcome === "held") {
    const duplicateOf = guard.runId;
    await ledger.runs.finish({ ...run, ...begun, status: "SKIPPED_DUPLICATE", duplicateOf });
    return;
  }
  const { jobLeaseMs: leaseMs } = settings;
  const request = { lane: "stable", types, limit: 100, leaseMs, owner } as const;
  for (;;) {
    const { jobs } = await ledger.jobs.claim(request);
    if (jobs.length === 0) break;
    const chosen = chooseForSlots(jobs);
    const started = await ledger.jobs.start(chosen);
    for (const job of chosen) if (started.has(job.id)) onStart(numberOf(job));
    const held = await ledger.jobs.heartbeat(jobs, leaseMs);
    const settlements = jobs.flatMap((job): Settlement[] => {
      if (chosen.includes(job) && !started.has(job.id)) return [];
      const settlement = settle(job, started.has(job.id));
      if (settlement.kind === "succeeded" && held.has(job.id)) effects.add(numberOf(job));
      return [settlement];
    });
    await ledger.jobs.settle(settlements);
  }
  await ledger.runs.finish({ ...run, ...begun, status: "SUCCEEDED" });
}

/** The jobs that get a slot, in turn; no tenant takes the last one. What has no attempt left needs none. */
function chooseForSlots(jobs: readonly ClaimedJob[]): ClaimedJob[] {
  const chosen: ClaimedJob[] = [];
  for (const job of jobs) {
    const ofTenant = chosen.filter(({ tenantId }) => tenantId === job.tenantId).length;
    const hasSlot = chosen.length < settings.slots && ofTenant < settings.slots - 1;
    if (hasSlot && hasAttempt(job)) chosen.push(job);
  }
  return chosen;
}

function hasAttempt({ attempt, maxAttempts }: ClaimedJob): boolean {
  return attempt <= maxAttempts;
}

function settle(job: ClaimedJob, hasRun: boolean): Settlement {
  const { id, fence, attempt } = job;
  const { manner } = job.payload as { manner: JobManner };
  const error = { code: "model", message: manner };
  if (!hasAttempt(job)) return { id, fence, kind: "dead", reason: "exhausted", error };
  if (!hasRun) return { id, fence, kind: "released", hasRun };
  if (manner === "is hopeless") return { id, fence, kind: "dead", reason: "terminal", error };
  if (manner === "fails once" && attempt === 1) {
    return { id, fence, kind: "retry", delayMs: settings.retryDelayMs, error };
  }
  return { id, fence, kind: "succeeded" };
}

function numberOf(job: ClaimedJob): number {
  return (job.payload as { job: number }).job;
}
