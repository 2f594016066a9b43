import type { LedgerModel, ModelLetter } from "./ledger-model.ts";
import { settings } from "./settings.ts";

/** What `ledger.prune` should delete with everything kept for the least: the number of rows per table. */
export function pruneModel(model: LedgerModel): Record<string, number> {
  const cutoff = model.now() - settings.keptMs;
  const isOpen = (kind: ModelLetter["kind"], sourceId: string): boolean =>
    model.letters.some(
      (letter) => letter.kind === kind && letter.sourceId === sourceId && letter.status === "OPEN",
    );
  const isUnsettled = (key: string): boolean =>
    [...model.runs.values()].some(
      ({ dispatchKey, status, heartbeatAt }) =>
        dispatchKey === key &&
        (status === "RUNNING" || (status === "STALE" && heartbeatAt >= cutoff)),
    );
  const deleted = { runs: 0, guards: 0, windows: 0, jobHistory: 0, deadLetters: 0, outbox: 0 };

  for (const [runId, run] of model.runs) {
    const endedAt = run.status === "STALE" ? run.heartbeatAt : run.finishedAt;
    const isHolder = model.guards.get(run.dispatchKey)?.runId === runId;
    if (run.status === "RUNNING" || endedAt >= cutoff) continue;
    if (model.windows.has(run.dispatchKey) || isHolder || isOpen("RUN", runId)) continue;
    model.runs.delete(runId);
    deleted.runs += 1;
  }
  for (const [key, { takenAt }] of model.guards) {
    if (takenAt >= cutoff || model.windows.has(key) || isUnsettled(key)) continue;
    model.guards.delete(key);
    deleted.guards += 1;
  }
  const newest = Math.max(...[...model.windows.values()].map(({ start }) => start));
  for (const [key, window] of model.windows) {
    const { status, start, enqueuedAt, updatedAt } = window;
    const last = Math.max(enqueuedAt, updatedAt, start + 60_000);
    if (status !== "ENQUEUED" || last >= cutoff || start === newest) continue;
    if (isUnsettled(key) || isOpen("DISPATCH", key)) continue;
    model.windows.delete(key);
    deleted.windows += 1;
  }
  const keep = <Row>(
    rows: Row[],
    table: keyof typeof deleted,
    isOld: (row: Row) => boolean,
  ): Row[] => {
    const kept = rows.filter((row) => !isOld(row));
    deleted[table] += rows.length - kept.length;
    return kept;
  };
  model.history = keep(
    model.history,
    "jobHistory",
    ({ id, finishedAt }) => finishedAt < cutoff && !isOpen("JOB", id),
  );
  model.letters = keep(
    model.letters,
    "deadLetters",
    ({ status, resolvedAt }) => status === "REQUEUED" && resolvedAt < cutoff,
  );
  model.outbox = keep(
    model.outbox,
    "outbox",
    ({ status, settledAt }) => status === "SENT" && settledAt < cutoff,
  );
  return deleted;
}
