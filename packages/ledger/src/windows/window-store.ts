import { randomUUID } from "node:crypto";

import type { SqlClient, SqlValue } from "../database/database.ts";
import { redactError } from "../database/redaction.ts";
import { defineStatement } from "../database/statement.ts";
import {
  toRecord,
  type ClaimOutcome,
  type MissedWindow,
  type StartedWindow,
  type WindowClaim,
  type WindowRecord,
  type WindowRow,
} from "./window.ts";

/** The record of dispatch windows. Each method is one statement; the database's clock decides. */
export interface WindowStore {
  /**
   * Claims a window under a new fence: a new one, one whose send failed, one whose claim expired, or one
   * that was missed. Otherwise counts a duplicate and returns what is recorded. A paused schedule is not claimed.
   */
  claim(claim: WindowClaim): Promise<ClaimOutcome>;
  /** Records that the events were sent. `false`: the fence no longer holds; nothing was written. */
  markEnqueued(dispatchKey: string, fence: string): Promise<boolean>;
  /** Records that the send failed; the next tick may claim at once. `false`: the fence no longer holds. */
  markFailed(dispatchKey: string, fence: string, error: string): Promise<boolean>;
  /** Records that the work ran inline. `false`: the fence no longer holds. */
  markInline(dispatchKey: string, fence: string): Promise<boolean>;
  /**
   * Records windows that no tick asked for and that will not be caught up with, and returns how many. A window
   * that is on record already is left as it is.
   */
  recordMissed(missed: readonly MissedWindow[]): Promise<number>;
  /**
   * Records a window that was sent while the ledger was unavailable, or was taken for missed. `false`: it is on record
   * already, and nothing was written.
   */
  recordStarted(window: StartedWindow): Promise<boolean>;
  /** Those of the dispatch keys that no window on record has, in the order given. */
  unrecorded(dispatchKeys: readonly string[]): Promise<string[]>;
  /** Returns a window as recorded; `undefined` when none is. */
  find(dispatchKey: string): Promise<WindowRecord | undefined>;
}

/** The parameters that describe a window. */
type WindowParameter =
  | "dispatchKey"
  | "schedule"
  | "scope"
  | "tenantId"
  | "windowStart"
  | "windowSeconds"
  | "lane"
  | "owner"
  | "correlationId"
  | "params";

// A tick that finds the window claimable takes it under its own fence; any other counts as a duplicate.
// The conflicting row is locked by the update, so of many concurrent ticks one sees it claimable.
const claimStatement = defineStatement<WindowParameter | "fence" | "leaseMs" | "skipOnOverlap">(`
WITH paused AS (
  SELECT pause_reason FROM evenkeel.background_schedule WHERE id = :schedule AND paused
), overlapping AS (
  SELECT FROM evenkeel.background_function_run AS run
  JOIN evenkeel.background_dispatch_window AS earlier ON earlier.dispatch_key = run.dispatch_key
  WHERE :skipOnOverlap::boolean AND run.status = 'RUNNING' AND run.event_name = 'background/process.requested'
    AND earlier.schedule = :schedule AND earlier.scope = :scope AND earlier.window_start < :windowStart::timestamptz
  LIMIT 1
), claim AS (
  INSERT INTO evenkeel.background_dispatch_window AS dispatch_window (
    dispatch_key, schedule, scope, tenant_id, window_start, window_seconds, lane,
    owner, correlation_id, fence, status, lease_expires_at, params
  )
  SELECT :dispatchKey, :schedule, :scope, :tenantId, :windowStart::timestamptz, :windowSeconds::int,
    :lane::evenkeel.lane, :owner, :correlationId, :fence::uuid,
    CASE WHEN EXISTS (SELECT FROM overlapping) THEN 'SKIPPED_OVERLAP'::evenkeel.window_status
      ELSE 'DISPATCHING' END,
    CASE WHEN NOT EXISTS (SELECT FROM overlapping)
      THEN clock_timestamp() + :leaseMs::double precision * interval '1 millisecond' END,
    :params::jsonb
  WHERE NOT EXISTS (SELECT 1 FROM paused)
  ON CONFLICT (dispatch_key) DO UPDATE SET
    (
      status, fence, owner, correlation_id, lease_expires_at, claim_count, duplicate_count, updated_at
    ) = (
      SELECT
        CASE WHEN free THEN 'DISPATCHING'::evenkeel.window_status ELSE dispatch_window.status END,
        CASE WHEN free THEN excluded.fence ELSE dispatch_window.fence END,
        CASE WHEN free THEN excluded.owner ELSE dispatch_window.owner END,
        CASE WHEN free THEN excluded.correlation_id ELSE dispatch_window.correlation_id END,
        CASE WHEN free THEN excluded.lease_expires_at ELSE dispatch_window.lease_expires_at END,
        dispatch_window.claim_count + free::int,
        dispatch_window.duplicate_count + (NOT free)::int,
        clock_timestamp()
      FROM (
        SELECT dispatch_window.status IN ('ENQUEUE_FAILED', 'MISSED')
          OR (dispatch_window.status = 'DISPATCHING' AND dispatch_window.lease_expires_at <= clock_timestamp()) AS free
      ) AS decision
    )
  RETURNING dispatch_window.*
)
SELECT claim.*, claim.fence = :fence::uuid AS claimed, paused.pause_reason,
  claim.dispatch_key IS NULL AS is_paused,
  -- A count of duplicates is worth no wait for the disk, and they queue behind each other on the row.
  CASE WHEN claim.fence <> :fence::uuid THEN set_config('synchronous_commit', 'off', true) END AS relaxed
FROM (SELECT 1) AS one
LEFT JOIN claim ON true
LEFT JOIN paused ON true`);

const recordMissedStatement = `
INSERT INTO evenkeel.background_dispatch_window (
  dispatch_key, schedule, scope, tenant_id, window_start, window_seconds, lane,
  owner, correlation_id, fence, status, claim_count
)
SELECT missed."dispatchKey", missed.schedule, missed.scope, missed."tenantId", missed."windowStart",
  missed."windowSeconds", missed.lane, missed.owner, 'watchdog', gen_random_uuid(), 'MISSED', 0
FROM jsonb_to_recordset($1::jsonb) AS missed (
  "dispatchKey" text, schedule text, scope text, "tenantId" text, "windowStart" timestamptz,
  "windowSeconds" int, lane evenkeel.lane, owner text
)
ON CONFLICT (dispatch_key) DO NOTHING
RETURNING dispatch_key`;

// A claim that is under way or has failed is its host's or the reconciler's: they hold or take a fence.
const recordStartedStatement = defineStatement<WindowParameter>(`
INSERT INTO evenkeel.background_dispatch_window AS dispatch_window (
  dispatch_key, schedule, scope, tenant_id, window_start, window_seconds, lane,
  owner, correlation_id, fence, status, claim_count, enqueued_at, params
)
VALUES (:dispatchKey, :schedule, :scope, :tenantId, :windowStart::timestamptz, :windowSeconds::int,
  :lane::evenkeel.lane, :owner, :correlationId, gen_random_uuid(),
  'ENQUEUED', 0, clock_timestamp(), :params::jsonb)
ON CONFLICT (dispatch_key) DO UPDATE SET
  status = 'ENQUEUED', enqueued_at = excluded.enqueued_at, updated_at = clock_timestamp()
WHERE dispatch_window.status = 'MISSED'
RETURNING dispatch_key`);

const unrecordedStatement = `
SELECT key FROM jsonb_array_elements_text($1::jsonb) WITH ORDINALITY AS asked (key, place)
WHERE NOT EXISTS (
  SELECT FROM evenkeel.background_dispatch_window AS dispatch_window WHERE dispatch_window.dispatch_key = asked.key
)
ORDER BY place`;

/** A statement that ends a claim with one assignment, as long as the fence holds. */
function settleStatement(assignment: string): string {
  return `
UPDATE evenkeel.background_dispatch_window
SET ${assignment}, lease_expires_at = NULL, updated_at = clock_timestamp()
WHERE dispatch_key = $1 AND fence = $2::uuid AND status = 'DISPATCHING'
RETURNING dispatch_key`;
}

const markEnqueuedStatement = settleStatement(
  "status = 'ENQUEUED', enqueued_at = clock_timestamp(), last_error = NULL",
);
const markFailedStatement = settleStatement(
  "status = 'ENQUEUE_FAILED', failure_count = failure_count + 1, last_error = $3",
);
const markInlineStatement = settleStatement("status = 'INLINE_EMERGENCY'");

/** Creates the window store on a connection pool. */
export function createWindowStore(sql: SqlClient): WindowStore {
  const writes = async (text: string, values: readonly SqlValue[]): Promise<boolean> =>
    (await sql.query(text, values)).length === 1;
  return {
    claim: (claim) => claimWindow(sql, claim),
    markEnqueued: (dispatchKey, fence) => writes(markEnqueuedStatement, [dispatchKey, fence]),
    markFailed: (dispatchKey, fence, error) =>
      writes(markFailedStatement, [dispatchKey, fence, redactError(error)]),
    markInline: (dispatchKey, fence) => writes(markInlineStatement, [dispatchKey, fence]),
    recordMissed: async (missed) =>
      (await sql.query(recordMissedStatement, [JSON.stringify(missed)])).length,
    recordStarted: (window) =>
      writes(recordStartedStatement.text, recordStartedStatement.values(describeWindow(window))),
    unrecorded: async (dispatchKeys) => {
      const rows = await sql.query<{ key: string }>(unrecordedStatement, [
        JSON.stringify(dispatchKeys),
      ]);
      return rows.map(({ key }) => key);
    },
    find: async (dispatchKey) => {
      const [row] = await sql.query<WindowRow>(
        `SELECT * FROM evenkeel.background_dispatch_window WHERE dispatch_key = $1`,
        [dispatchKey],
      );
      return row === undefined ? undefined : toRecord(row);
    },
  };
}

interface ClaimRow extends WindowRow {
  readonly claimed: boolean;
  readonly is_paused: boolean;
  readonly pause_reason: string | null;
}

async function claimWindow(sql: SqlClient, claim: WindowClaim): Promise<ClaimOutcome> {
  const [row] = await sql.query<ClaimRow>(
    claimStatement.text,
    claimStatement.values({
      ...describeWindow(claim),
      fence: randomUUID(),
      leaseMs: claim.leaseMs,
      skipOnOverlap: claim.skipOnOverlap ?? false,
    }),
  );
  if (row === undefined || row.is_paused) {
    return { outcome: "paused", reason: row?.pause_reason ?? null };
  }
  if (!row.claimed) return { outcome: "duplicate", window: toRecord(row) };
  return row.status === "SKIPPED_OVERLAP"
    ? { outcome: "overlap", window: toRecord(row) }
    : { outcome: "claimed", fence: row.fence, claimCount: row.claim_count };
}

function describeWindow(window: StartedWindow): Record<WindowParameter, SqlValue> {
  return {
    dispatchKey: window.dispatchKey,
    schedule: window.schedule,
    scope: window.scope,
    tenantId: window.tenantId ?? null,
    windowStart: window.windowStart.toISOString(),
    windowSeconds: window.windowSeconds,
    lane: window.lane,
    owner: window.owner,
    correlationId: window.correlationId,
    params: window.params === undefined ? null : JSON.stringify(window.params),
  };
}
