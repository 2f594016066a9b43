import type { LedgerModel, ModelLetter, ModelWindow } from "./ledger-model.ts";
import { settings } from "./settings.ts";

/** What a reconciliation should find. */
export interface ModelReconciliation {
  readonly stale: string[];
  /** By dispatch key. */
  readonly repairs: Map<string, "expired" | "send_failed" | "never_started" | "stale">;
  readonly givenUp: string[];
  /** Dispatch keys of windows that two runs worked for. */
  readonly breaches: string[];
}

/** What `ledger.reconcile` should do and answer. */
export function reconcileModel(model: LedgerModel): ModelReconciliation {
  const now = model.now();
  const { latenessMs, neverStartedAfterMs, repairLeaseMs, staleAfterMs, windowMs } = settings;
  const { lostAfterMs, longestPauseMs } = settings;
  const stale = [...model.runs]
    .filter(([, run]) => run.status === "RUNNING" && run.heartbeatAt < now - staleAfterMs)
    .map(([runId, run]) => {
      run.status = "STALE";
      return runId;
    });

  const isYoung = ({ start, createdAt }: ModelWindow): boolean =>
    Math.max(start, Math.min(createdAt, start + windowMs)) > now - latenessMs;
  const lettersOf = (key: string): ModelLetter[] =>
    model.letters.filter(({ kind, sourceId }) => kind === "DISPATCH" && sourceId === key);
  const isUnstarted = (key: string, window: ModelWindow): boolean =>
    window.status === "ENQUEUED" &&
    window.sendsWork &&
    window.enqueuedAt < now - neverStartedAfterMs &&
    !model.hasLiveRun(key);
  const isUndispatched = (window: ModelWindow): boolean =>
    window.status === "ENQUEUE_FAILED" || model.hasExpired(window);

  // A window that was sent waits behind others, or is lost: nothing is under way, a later one started at once, or it
  // has waited for so long that Inngest has given it up.
  const recent = [...model.runs.values()].filter(({ startedAt }) => startedAt > now - lostAfterMs);
  const isBusy = recent.some(
    ({ status, heartbeatAt }) => status !== "STALE" && heartbeatAt > now - neverStartedAfterMs,
  );
  const passing = recent.flatMap(({ dispatchKey, startedAt }) => {
    const later = model.windows.get(dispatchKey);
    const isPrompt =
      later?.status === "ENQUEUED" &&
      later.repairs === 0 &&
      startedAt < later.enqueuedAt + neverStartedAfterMs / 4;
    return isPrompt ? [later.enqueuedAt] : [];
  });
  const isLost = (key: string, { enqueuedAt, repairs: count }: ModelWindow): boolean =>
    !isBusy ||
    passing.some((sentAt) => sentAt > enqueuedAt) ||
    enqueuedAt < now - lostAfterMs ||
    [...model.runs.values()].some(
      ({ dispatchKey, heartbeatAt }) =>
        dispatchKey === key && (count === 0 || heartbeatAt > enqueuedAt),
    );

  const repairs: ModelReconciliation["repairs"] = new Map();
  for (const [key, window] of model.windows) {
    if (window.nextRepairAt > now) continue;
    const isRequeued = lettersOf(key).some(
      ({ status, resolvedAt }) => status === "REQUEUED" && resolvedAt > now - latenessMs,
    );
    if (isUndispatched(window) && (isYoung(window) || isRequeued)) {
      repairs.set(key, window.status === "DISPATCHING" ? "expired" : "send_failed");
    } else if (
      isUnstarted(key, window) &&
      window.enqueuedAt > now - latenessMs &&
      (window.repairs === 0 || isYoung(window)) &&
      isLost(key, window)
    ) {
      const hasRun = [...model.runs.values()].some(({ dispatchKey }) => dispatchKey === key);
      repairs.set(key, hasRun ? "stale" : "never_started");
    }
  }
  for (const key of repairs.keys()) {
    const window = model.windows.get(key)!;
    window.status = "DISPATCHING";
    window.leaseUntil = now + repairLeaseMs;
    window.claims += 1;
    window.nextRepairAt = now + Math.min(longestPauseMs, neverStartedAfterMs * 2 ** window.repairs);
    window.repairs += 1;
    window.updatedAt = now;
  }

  const givenUp: string[] = [];
  for (const [key, window] of model.windows) {
    const isUndone = isUndispatched(window) || (window.repairs > 0 && isUnstarted(key, window));
    const latest = lettersOf(key).at(-1);
    const isDecided =
      latest !== undefined &&
      !(latest.status === "REQUEUED" && latest.resolvedAt <= now - latenessMs);
    if (isUndone && !isYoung(window) && !isDecided) givenUp.push(key);
  }
  for (const key of givenUp) model.openDispatchLetter(key);
  return { stale, repairs, givenUp, breaches: findBreaches(model) };
}

function findBreaches(model: LedgerModel): string[] {
  const workers = new Map<string, number>();
  for (const [runId, { dispatchKey, status, startedAt }] of model.runs) {
    const works =
      status === "SUCCEEDED" ||
      (status === "RUNNING" && model.guards.get(dispatchKey)?.runId === runId);
    if (!works || startedAt <= model.now() - settings.latenessMs) continue;
    workers.set(dispatchKey, (workers.get(dispatchKey) ?? 0) + 1);
  }
  return [...workers].filter(([, count]) => count > 1).map(([key]) => key);
}

/** What `deadLetters.requeue` should do with an open letter: whether it was requeued. */
export function requeueModel(model: LedgerModel, letter: ModelLetter, letterId: string): boolean {
  if (letter.status !== "OPEN") return false;
  const now = model.now();
  if (letter.kind === "JOB") model.addJob(letter.job!);
  if (letter.kind === "RUN") {
    const eventId = `${letter.eventId}:d:${letterId}`;
    model.outbox.push({ eventId, status: "PENDING", settledAt: 0 });
    for (const [key, { runId }] of model.guards) {
      if (runId === letter.sourceId) model.guards.delete(key);
    }
  }
  if (letter.kind === "DISPATCH") {
    const window = model.windows.get(letter.sourceId);
    if (window === undefined) return false;
    const isUndone =
      window.status === "ENQUEUE_FAILED" ||
      model.hasExpired(window) ||
      (window.status === "ENQUEUED" && !model.hasLiveRun(letter.sourceId));
    if (!isUndone) return false;
    Object.assign(window, { status: "ENQUEUE_FAILED", nextRepairAt: 0, updatedAt: now });
  }
  Object.assign(letter, { status: "REQUEUED", resolvedAt: now });
  return true;
}
