import type { SqlClient } from "../database/database.ts";

/*
 * The guard between runs and windows. A run that begins takes its window's guard; while it holds it, every other
 * run of that window ends as a duplicate. What a run's end does to its window:
 *
 * - It succeeded: the guard stays with it, so the window is done and no later run repeats its work.
 * - It failed, was cancelled, or went silent (`STALE`): the guard gives way. The window itself stays `ENQUEUED`;
 *   a run that Inngest, the reconciler or a redrive starts later takes the guard and does the work.
 * - It was a duplicate: nothing.
 */

/** The right to execute one window for one function. */
export interface GuardRequest {
  readonly functionId: string;
  readonly dispatchKey: string;
  /** 0 for the run that the tick started, n for its nth continuation. */
  readonly continuation: number;
  /** Inngest's run id. */
  readonly runId: string;
}

/** What came of taking the guard: this run may work, or another run holds the window. */
export type GuardOutcome =
  | { readonly outcome: "taken" }
  | { readonly outcome: "held"; readonly runId: string };

/**
 * The guard of promise P1: per function, window and continuation one run at most does the work, however
 * often Inngest starts one and however long ago the first was.
 */
export interface GuardStore {
  /**
   * Takes the guard, or returns who holds it. The holder may take it again. A holder recorded as failed,
   * cancelled or stale gives way, so that a redrive is not suppressed by the failure it repairs.
   */
  take(request: GuardRequest): Promise<GuardOutcome>;
}

const takeStatement = `
INSERT INTO evenkeel.background_dispatch_guard AS guard (function_id, dispatch_key, continuation, run_id)
VALUES ($1, $2, $3::int, $4)
ON CONFLICT (function_id, dispatch_key, continuation) DO UPDATE SET
  (run_id, taken_at) = (
    -- Retention counts from when the present holder took it.
    SELECT
      CASE WHEN free THEN excluded.run_id ELSE guard.run_id END,
      CASE WHEN free THEN excluded.taken_at ELSE guard.taken_at END
    FROM (
      SELECT EXISTS (
        SELECT 1 FROM evenkeel.background_function_run AS holder
        WHERE holder.run_id = guard.run_id AND holder.function_id = guard.function_id
          AND holder.status IN ('FAILED', 'CANCELLED', 'STALE')
      ) AS free
    ) AS decision
  )
RETURNING run_id`;

/** Creates the guard store on a connection pool. */
export function createGuardStore(sql: SqlClient): GuardStore {
  return {
    take: async ({ functionId, dispatchKey, continuation, runId }) => {
      const [row] = await sql.query<{ run_id: string }>(takeStatement, [
        functionId,
        dispatchKey,
        continuation,
        runId,
      ]);
      return row === undefined || row.run_id === runId
        ? { outcome: "taken" }
        : { outcome: "held", runId: row.run_id };
    },
  };
}
