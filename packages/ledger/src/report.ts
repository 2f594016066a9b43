import type { SqlClient } from "./database/database.ts";
import { executesWindow } from "./runs/run-conditions.ts";
import type { RunStatus } from "./runs/run.ts";
import type { WindowStatus } from "./windows/window.ts";

/** Numbers over the whole ledger, for a report's end or an operator's first look. It reads every table. */
export interface LedgerReport {
  readonly windows: {
    readonly total: number;
    readonly byStatus: Readonly<Partial<Record<WindowStatus, number>>>;
    /** Ticks that found their window dispatched already. */
    readonly duplicates: number;
    /** Sends that failed. */
    readonly failures: number;
    /** Windows whose tick found nothing to do. They are in no other number. */
    readonly idle: number;
    /** Claims beyond each window's first: retries and take-overs. */
    readonly reclaims: number;
    /** Windows sent whose process run is not on record as started. */
    readonly neverStarted: number;
  };
  readonly runs: {
    readonly total: number;
    readonly byStatus: Readonly<Partial<Record<RunStatus, number>>>;
    /** Runs beyond the first that did the work of one window, function and continuation. Must be 0. */
    readonly duplicateForWindow: number;
  };
  readonly deadLetters: {
    readonly open: number;
    readonly byReason: Readonly<Record<string, number>>;
  };
}

/** Reads a {@link LedgerReport}: one statement, so that its numbers are of one moment. */
export async function readReport(sql: SqlClient): Promise<LedgerReport> {
  const [row] = await sql.query<{ report: LedgerReport }>(reportStatement);
  if (row === undefined) throw new Error("The report's statement returned no row.");
  return row.report;
}

const reportStatement = `
WITH windows AS (
  SELECT status, count(*) AS total, sum(duplicate_count) AS duplicates, sum(failure_count) AS failures,
    sum(claim_count - 1) AS reclaims
  FROM evenkeel.background_dispatch_window
  GROUP BY status
),
never_started AS (
  SELECT count(*) AS total
  FROM evenkeel.background_dispatch_window AS window_
  WHERE window_.status = 'ENQUEUED' AND window_.events ? 'background/process.requested' AND NOT EXISTS (
    SELECT FROM evenkeel.background_function_run AS run
    WHERE run.dispatch_key = window_.dispatch_key AND run.event_name = 'background/process.requested'
  )
),
runs AS (
  SELECT status, count(*) AS total FROM evenkeel.background_function_run GROUP BY status
),
repeated AS (
  SELECT count(*) - 1 AS surplus
  FROM evenkeel.background_function_run AS run
  WHERE ${executesWindow}
  GROUP BY function_id, dispatch_key, continuation
  HAVING count(*) > 1
),
letters AS (
  SELECT reason, count(*) AS total
  FROM evenkeel.background_dead_letter
  WHERE status = 'OPEN'
  GROUP BY reason
)
SELECT json_build_object(
  'windows', (
    SELECT json_build_object(
      'total', coalesce(sum(total), 0),
      'byStatus', coalesce(json_object_agg(status, total), '{}'),
      'duplicates', coalesce(sum(duplicates), 0),
      'failures', coalesce(sum(failures), 0),
      'idle', (SELECT coalesce(sum(idle_count), 0) FROM evenkeel.background_schedule_idle),
      'reclaims', coalesce(sum(reclaims), 0),
      'neverStarted', (SELECT total FROM never_started)
    ) FROM windows
  ),
  'runs', (
    SELECT json_build_object(
      'total', coalesce(sum(total), 0),
      'byStatus', coalesce(json_object_agg(status, total), '{}'),
      'duplicateForWindow', (SELECT coalesce(sum(surplus), 0) FROM repeated)
    ) FROM runs
  ),
  'deadLetters', (
    SELECT json_build_object(
      'open', coalesce(sum(total), 0),
      'byReason', coalesce(json_object_agg(reason, total), '{}')
    ) FROM letters
  )
) AS report`;
