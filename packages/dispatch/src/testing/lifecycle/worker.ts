import type { ClaimedJob, Settlement } from "@evenkeel/ledger";

import type { Host } from "./host.ts";
import type { MirroredLedger } from "./mirrored-ledger.ts";
import { settings } from "./settings.ts";

/** How the attempts at a job end. */
export type JobManner = "succeeds" | "fails once" | "is hopeless";

/** What a worker is called for. */
export interface WorkerRun {
  readonly runId: string;
  readonly dispatchKey: string;
  readonly type: string;
  /** Jobs whose effect took place. */
  readonly effects: Set<number>;
}

/** What the process function does for a window, in the order in which it writes. */
export async function workWindow(
  ledger: MirroredLedger,
  host: Host,
  { runId, dispatchKey, type, effects }: WorkerRun,
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
  const request = { lane: "stable", types: [type], limit: 100, leaseMs, owner } as const;
  const { jobs } = await ledger.jobs.claim(request);
  const started = await ledger.jobs.start(jobs);
  const held = await ledger.jobs.heartbeat(jobs, leaseMs);
  const settlements = jobs.flatMap((job): Settlement[] => {
    if (!started.has(job.id)) return [];
    const settlement = settle(job);
    if (settlement.kind === "succeeded" && held.has(job.id)) effects.add(numberOf(job));
    return [settlement];
  });
  await ledger.jobs.settle(settlements);
  await ledger.runs.finish({ ...run, ...begun, status: "SUCCEEDED" });
}

function settle(job: ClaimedJob): Settlement {
  const { id, fence, attempt } = job;
  const { manner } = job.payload as { manner: JobManner };
  const error = { code: "model", message: manner };
  if (manner === "is hopeless") return { id, fence, kind: "dead", reason: "terminal", error };
  if (manner === "fails once" && attempt === 1) {
    return { id, fence, kind: "retry", delayMs: settings.retryDelayMs, error };
  }
  return { id, fence, kind: "succeeded" };
}

function numberOf(job: ClaimedJob): number {
  return (job.payload as { job: number }).job;
}
