import type { Scope } from "../database/tenant-scope.ts";
import type { RunStatus } from "../runs/run.ts";
import { toRecord, type WindowRecord, type WindowRow } from "./window.ts";

/** How far a window has come. */
export type WindowProgress =
  | "dispatching"
  | "dispatch_failed"
  | "dispatched"
  | "started"
  | "finished"
  | "failed"
  | "inline"
  | "missed"
  | "skipped";

/** One run of a window. */
export interface ReceiptRun {
  readonly runId: string;
  readonly functionId: string;
  readonly continuation: number;
  readonly status: RunStatus;
  readonly startedAt: string;
  readonly finishedAt: string | null;
  readonly duplicateOf: string | null;
  readonly error: string | null;
}

/** What became of a tick: its window and the runs that worked on it. */
export interface WindowReceipt {
  readonly progress: WindowProgress;
  readonly window: WindowRecord;
  /** The oldest first, 100 at most. */
  readonly runs: readonly ReceiptRun[];
}

const statement = `
SELECT dispatch_window.*, coalesce((
  SELECT jsonb_agg(listed.run ORDER BY listed.started_at) FROM (
    SELECT started_at, jsonb_build_object(
      'runId', run_id, 'functionId', function_id, 'continuation', continuation,
      'status', status, 'startedAt', started_at, 'finishedAt', finished_at,
      'duplicateOf', duplicate_of, 'error', last_error
    ) AS run
    FROM evenkeel.background_function_run
    WHERE dispatch_key = dispatch_window.dispatch_key AND :tenant(tenant_id)
    ORDER BY started_at
    LIMIT 100
  ) AS listed
), '[]') AS runs
FROM evenkeel.background_dispatch_window AS dispatch_window
WHERE dispatch_window.dispatch_key = $1 AND :tenant(dispatch_window.tenant_id)`;

/** Returns what became of a window; `undefined` when the scope has none of this key. */
export async function readReceipt(
  scope: Scope,
  dispatchKey: string,
): Promise<WindowReceipt | undefined> {
  const [row] = await scope.query<WindowRow & { readonly runs: readonly ReceiptRun[] }>(statement, [
    dispatchKey,
  ]);
  if (row === undefined) return undefined;
  const window = toRecord(row);
  return { progress: progressOf(window, row.runs), window, runs: row.runs };
}

function progressOf({ status }: WindowRecord, runs: readonly ReceiptRun[]): WindowProgress {
  switch (status) {
    case "DISPATCHING":
      return "dispatching";
    case "ENQUEUE_FAILED":
      return "dispatch_failed";
    case "INLINE_EMERGENCY":
      return "inline";
    case "MISSED":
      return "missed";
    case "SKIPPED_OVERLAP":
      return "skipped";
    case "ENQUEUED": {
      // A duplicate did nothing, and what fell silent was replaced or waits to be.
      const working = runs.filter(
        (run) => run.status !== "SKIPPED_DUPLICATE" && run.status !== "STALE",
      );
      if (working.length === 0) return "dispatched";
      if (working.some((run) => run.status === "RUNNING")) return "started";
      return working.every((run) => run.status === "SUCCEEDED") ? "finished" : "failed";
    }
  }
}
