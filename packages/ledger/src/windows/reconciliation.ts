import { randomUUID } from "node:crypto";

import type { SqlClient } from "../database/database.ts";
import { defineStatement } from "../database/statement.ts";
import { executesWindow, hasLiveRun } from "../runs/run-conditions.ts";
import type { RunIdentity, SilentRuns } from "../runs/run.ts";
import { toRecord, type WindowRecord, type WindowRow } from "./window.ts";

/** What to look for, and how far to go in one call. */
export interface ReconcileRequest {
  /** Names the repairing host. */
  readonly owner: string;
  /** How long the claims of repairs are good for, in milliseconds. */
  readonly leaseMs: number;
  /**
   * How long a sent window may wait for its run before it can count as lost, in milliseconds. It counts as lost where no
   * run of its lane is under way or was within that time, or where a window sent later started at once; otherwise it
   * waits behind a backlog, and counts as lost after 65 minutes, as Inngest gives up a run that has waited for an hour.
   * Each repair of a window doubles the pause before its next one, which begins with this time, up to 30 minutes.
   */
  readonly neverStartedAfterMs: number;
  /**
   * How old a window may be to be sent again, in milliseconds; an older one gets a dead letter. It counts from the
   * window's start, or from its first record where that came later and while the window lasted.
   */
  readonly maxAgeMs: number;
  /** How long a run may be silent before it is stale, in milliseconds. */
  readonly staleAfterMs: number;
  /** Most windows and most runs picked up in one call. */
  readonly limit: number;
  /** Whether windows are claimed for repairs; defaults to `true`. `false`: the rest is done, and they wait. */
  readonly repairs?: boolean;
}

/** What marks silent runs as stale: a run store. */
export interface SilenceWatch {
  /** Marks runs as stale whose worker was silent for so long, and returns them. */
  markStale(request: SilentRuns): Promise<RunIdentity[]>;
}

/** Why a window has to be sent again. */
export type RepairReason = "expired" | "send_failed" | "never_started" | "stale";

/** A window claimed for a repair: its events are to be sent again, and the outcome recorded under the fence. */
export interface WindowRepair {
  readonly reason: RepairReason;
  readonly fence: string;
  readonly window: WindowRecord;
}

/** More than one run did the work of one window: promise P1 was broken. */
export interface WindowBreach {
  readonly functionId: string;
  readonly dispatchKey: string;
  readonly continuation: number;
  readonly runIds: readonly string[];
}

/** What a reconciliation found. */
export interface Reconciliation {
  readonly repairs: readonly WindowRepair[];
  /** Runs that were marked as stale now. */
  readonly stale: readonly RunIdentity[];
  readonly breaches: readonly WindowBreach[];
  /** Dispatch keys of windows that were too old to be repaired, and have a dead letter now. */
  readonly givenUp: readonly string[];
}

// What a window's age counts from: its start, or its first record where that came late and the window still lasts. So a
// window of a week that is claimed on its third day is repaired as long as one of a minute.
const agedFrom = `greatest(dispatch_window.window_start, least(dispatch_window.created_at,
      dispatch_window.window_start + dispatch_window.window_seconds * interval '1 second'))`;

/** When a window that waits behind a backlog counts as lost, in milliseconds: runs time out before they start after 1 h. */
const lostAfterMs = 65 * 60_000;

/** The longest pause between two repairs of a window, in milliseconds. */
const longestPauseMs = 30 * 60_000;

// A window is repaired once its pause is over, unless its schedule is paused.
const isRepairable = `(dispatch_window.next_repair_at IS NULL OR dispatch_window.next_repair_at <= clock_timestamp())
    AND NOT EXISTS (
      SELECT FROM evenkeel.background_schedule AS schedule
      WHERE schedule.id = dispatch_window.schedule AND schedule.paused
    )`;

// Rows that another host is working on are skipped, so that many hosts can reconcile at once.
const repairStatement = defineStatement<
  | "fence"
  | "owner"
  | "leaseMs"
  | "limit"
  | "maxAgeMs"
  | "neverStartedAfterMs"
  | "lostAfterMs"
  | "longestPauseMs"
>(`
WITH started AS MATERIALIZED (
  -- The process function's runs of late. now(), and every status, for an index.
  SELECT run.lane, run.status, run.dispatch_key, run.continuation, run.started_at, run.heartbeat_at
  FROM evenkeel.background_function_run AS run
  WHERE run.status IN ('RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED', 'STALE', 'SKIPPED_DUPLICATE')
    AND run.started_at > now() - :lostAfterMs::double precision * interval '1 millisecond'
    AND run.event_name = 'background/process.requested'
), busy AS MATERIALIZED (
  SELECT DISTINCT started.lane FROM started WHERE started.status <> 'STALE'
    AND started.heartbeat_at > clock_timestamp() - :neverStartedAfterMs::double precision * interval '1 millisecond'
), passing AS MATERIALIZED (
  -- The newest window whose run started as good as at once: in that moment nothing waited before it.
  SELECT started.lane, max(later.enqueued_at) AS sent_at
  FROM started JOIN evenkeel.background_dispatch_window AS later ON later.dispatch_key = started.dispatch_key
  WHERE started.continuation = 0 AND later.status = 'ENQUEUED' AND later.repair_count = 0
    AND started.started_at < later.enqueued_at
      + :neverStartedAfterMs::double precision / 4 * interval '1 millisecond'
  GROUP BY started.lane
), undispatched AS MATERIALIZED (
  SELECT dispatch_window.dispatch_key,
    CASE dispatch_window.status WHEN 'DISPATCHING' THEN 'expired' ELSE 'send_failed' END AS reason
  FROM evenkeel.background_dispatch_window AS dispatch_window
  WHERE (dispatch_window.status = 'ENQUEUE_FAILED'
      OR (dispatch_window.status = 'DISPATCHING' AND dispatch_window.lease_expires_at <= clock_timestamp()))
    AND (${agedFrom} > clock_timestamp()
        - :maxAgeMs::double precision * interval '1 millisecond' OR EXISTS (
      -- Old, and requeued by an operator.
      SELECT FROM evenkeel.background_dead_letter AS letter
      WHERE letter.kind = 'DISPATCH' AND letter.source_id = dispatch_window.dispatch_key
        AND letter.status = 'REQUEUED'
        AND letter.resolved_at > clock_timestamp() - :maxAgeMs::double precision * interval '1 millisecond'
    ))
    AND ${isRepairable}
  ORDER BY dispatch_window.lease_expires_at
  LIMIT :limit::int
  FOR UPDATE SKIP LOCKED
), unstarted AS MATERIALIZED (
  SELECT dispatch_window.dispatch_key,
    CASE WHEN EXISTS (
      SELECT FROM evenkeel.background_function_run AS run
      WHERE run.dispatch_key = dispatch_window.dispatch_key
        AND run.event_name = 'background/process.requested'
    ) THEN 'stale' ELSE 'never_started' END AS reason
  FROM evenkeel.background_dispatch_window AS dispatch_window
  WHERE dispatch_window.status = 'ENQUEUED' AND dispatch_window.events ? 'background/process.requested'
    AND dispatch_window.enqueued_at < clock_timestamp() - :neverStartedAfterMs::double precision * interval '1 millisecond'
    AND dispatch_window.enqueued_at > clock_timestamp() - :maxAgeMs::double precision * interval '1 millisecond'
    -- Sent again until it is too old: then it gets a dead letter.
    AND (dispatch_window.repair_count = 0 OR ${agedFrom} > clock_timestamp()
      - :maxAgeMs::double precision * interval '1 millisecond')
    AND NOT ${hasLiveRun}
    AND ${isRepairable}
    -- Lost, or its run fell silent. Otherwise it waits behind others.
    AND (
      EXISTS (
        SELECT FROM evenkeel.background_function_run AS run
        WHERE run.dispatch_key = dispatch_window.dispatch_key AND run.event_name = 'background/process.requested'
          AND (dispatch_window.repair_count = 0 OR run.heartbeat_at > dispatch_window.enqueued_at)
      )
      OR dispatch_window.lane NOT IN (SELECT lane FROM busy)
      OR dispatch_window.enqueued_at < (SELECT sent_at FROM passing WHERE passing.lane = dispatch_window.lane)
      OR dispatch_window.enqueued_at < clock_timestamp() - :lostAfterMs::double precision * interval '1 millisecond'
    )
  ORDER BY dispatch_window.enqueued_at
  LIMIT :limit::int
  FOR UPDATE SKIP LOCKED
), found AS (
  SELECT * FROM undispatched UNION ALL SELECT * FROM unstarted
  LIMIT :limit::int
)
UPDATE evenkeel.background_dispatch_window AS dispatch_window SET
  status = 'DISPATCHING', fence = :fence::uuid, owner = :owner,
  lease_expires_at = clock_timestamp() + :leaseMs::double precision * interval '1 millisecond',
  claim_count = dispatch_window.claim_count + 1, repair_count = dispatch_window.repair_count + 1,
  next_repair_at = clock_timestamp() + least(
    :longestPauseMs::double precision,
    :neverStartedAfterMs::double precision * 2 ^ least(dispatch_window.repair_count, 20)
  ) * interval '1 millisecond',
  updated_at = clock_timestamp()
FROM found
WHERE dispatch_window.dispatch_key = found.dispatch_key
RETURNING dispatch_window.*, found.reason`);

const breachStatement = `
SELECT function_id AS "functionId", dispatch_key AS "dispatchKey", continuation,
  array_agg(run_id ORDER BY started_at) AS "runIds"
FROM evenkeel.background_function_run AS run
WHERE ${executesWindow}
  AND started_at > clock_timestamp() - $1::double precision * interval '1 millisecond'
GROUP BY function_id, dispatch_key, continuation
HAVING count(*) > 1
LIMIT $2::int`;

// What is too old to be repaired waits for an operator, unless one has just requeued it or has closed it.
const giveUpStatement = `
WITH undone AS (
  SELECT dispatch_key FROM evenkeel.background_dispatch_window
  WHERE status = 'ENQUEUE_FAILED'
    OR (status = 'DISPATCHING' AND lease_expires_at <= clock_timestamp())
  UNION ALL
  SELECT dispatch_window.dispatch_key FROM evenkeel.background_dispatch_window AS dispatch_window
  WHERE dispatch_window.status = 'ENQUEUED' AND dispatch_window.repair_count > 0
    AND dispatch_window.events ? 'background/process.requested'
    AND dispatch_window.enqueued_at < clock_timestamp() - $3::double precision * interval '1 millisecond'
    AND NOT ${hasLiveRun}
)
INSERT INTO evenkeel.background_dead_letter
  (kind, source_id, tenant_id, name, reason, error, payload, previous_id)
SELECT 'DISPATCH', dispatch_window.dispatch_key, dispatch_window.tenant_id, dispatch_window.schedule,
  CASE dispatch_window.status WHEN 'DISPATCHING' THEN 'stale' ELSE 'exhausted' END,
  coalesce(dispatch_window.last_error, CASE dispatch_window.status
    WHEN 'ENQUEUED' THEN 'The window was sent ' || dispatch_window.claim_count || ' times and its run never started.'
    ELSE 'The window was claimed and never sent.' END),
  jsonb_build_object('schedule', dispatch_window.schedule, 'windowStart', dispatch_window.window_start,
    'windowSeconds', dispatch_window.window_seconds, 'params', dispatch_window.params),
  earlier.id
FROM undone
JOIN evenkeel.background_dispatch_window AS dispatch_window USING (dispatch_key)
LEFT JOIN LATERAL (
  SELECT letter.id, letter.status, letter.resolved_at FROM evenkeel.background_dead_letter AS letter
  WHERE letter.kind = 'DISPATCH' AND letter.source_id = dispatch_window.dispatch_key
  ORDER BY letter.created_at DESC LIMIT 1
) AS earlier ON true
WHERE ${agedFrom} <= clock_timestamp() - $1::double precision * interval '1 millisecond'
  AND (earlier.id IS NULL OR (earlier.status = 'REQUEUED'
    AND earlier.resolved_at <= clock_timestamp() - $1::double precision * interval '1 millisecond'))
LIMIT $2::int
ON CONFLICT (kind, source_id, source_created_at) WHERE status = 'OPEN' DO NOTHING
RETURNING source_id AS "dispatchKey"`;

/**
 * Finds what the dispatch path left undone and claims its repair: windows whose host died or whose send
 * failed, windows that were sent and whose run never started, or started and fell silent; and reports
 * windows that ran twice. Bounded by `limit`; any number of hosts may call it at once.
 */
export async function reconcile(
  sql: SqlClient,
  runs: SilenceWatch,
  request: ReconcileRequest,
): Promise<Reconciliation> {
  const { owner, leaseMs, limit, maxAgeMs, neverStartedAfterMs, staleAfterMs } = request;
  const repairs = request.repairs ?? true;
  const stale = await runs.markStale({ silentMs: staleAfterMs, limit });
  const fence = randomUUID();
  const values = { fence, owner, leaseMs, limit, maxAgeMs, neverStartedAfterMs };
  const rows = repairs
    ? await sql.query<WindowRow & { readonly reason: RepairReason }>(
        repairStatement.text,
        repairStatement.values({
          ...values,
          lostAfterMs: Math.max(lostAfterMs, neverStartedAfterMs),
          longestPauseMs,
        }),
      )
    : [];
  const givenUp = await sql.query<{ dispatchKey: string }>(giveUpStatement, [
    maxAgeMs,
    limit,
    neverStartedAfterMs,
  ]);
  const breaches = await sql.query<WindowBreach>(breachStatement, [maxAgeMs, limit]);
  return {
    repairs: rows.map((row) => ({ reason: row.reason, fence, window: toRecord(row) })),
    stale,
    breaches,
    givenUp: givenUp.map(({ dispatchKey }) => dispatchKey),
  };
}
