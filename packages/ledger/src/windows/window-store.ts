import type { Connections } from "../database/connections.ts";
import type { SqlValue } from "../database/database.ts";
import { redactError } from "../database/redaction.ts";
import { defineStatement } from "../database/statement.ts";
import type { TransactionClient } from "../database/transaction-client.ts";
import { noteSent } from "../handshake/handshake.ts";
import {
  beginFanOut,
  findUnsettled,
  stepFanOut,
  type FanOutStep,
  type StartedJobs,
} from "./fan-out.ts";
import { lookAtTick, wasIdle, type TickOutlook, type TickRequest } from "./tick-outlook.ts";
import { claimAndStart, claimWindow } from "./window-claim.ts";
import {
  describeWindow,
  toRecord,
  type ClaimOutcome,
  type FanOutState,
  type MissedWindow,
  type SendNote,
  type StartedWindow,
  type WindowClaim,
  type WindowParameter,
  type WindowRecord,
  type WindowRow,
} from "./window.ts";

/** The record of dispatch windows. Each method is one statement; the database's clock decides. */
export interface WindowStore {
  /**
   * Returns what a tick has to do. Where that is nothing, its window is recorded as idle: counted on its schedule, and
   * on record as one that had its tick.
   */
  look(tick: TickRequest): Promise<TickOutlook>;
  /** Returns whether a window had its tick and found nothing to do. Known for two days. */
  wasIdle(dispatchKey: string): Promise<boolean>;
  /**
   * Claims a window under a new fence: a new one, one whose send failed, one whose claim expired, or one
   * that was missed. Otherwise counts a duplicate and returns what is recorded. A paused schedule is not claimed.
   */
  claim(claim: WindowClaim): Promise<ClaimOutcome>;
  /**
   * Claims as `claim` does, and calls `start` in the claim's transaction where the window was not claimed before: what it
   * writes there exists if and only if the window is claimed. What it throws undoes the claim, and is thrown.
   */
  claimAndStart(
    claim: WindowClaim,
    start: (tx: TransactionClient) => Promise<unknown>,
  ): Promise<ClaimOutcome>;
  /** Returns how far a window was fanned out, and notes that it began; `undefined`: it is not on record. */
  beginFanOut(dispatchKey: string): Promise<FanOutState | undefined>;
  /** Records a page that was fanned out. `false`: another worker has recorded it, and goes on. */
  stepFanOut(step: FanOutStep): Promise<boolean>;
  /** Returns those of the tenants that have an unsettled job of a type, under unique keys of a range. */
  findUnsettled(jobs: StartedJobs): Promise<string[]>;
  /** Records that the events were sent. `false`: the fence no longer holds; nothing was written. */
  markEnqueued(dispatchKey: string, fence: string, note?: SendNote): Promise<boolean>;
  /** Records that the send failed; the next tick may claim at once. `false`: the fence no longer holds. */
  markFailed(dispatchKey: string, fence: string, error: string, note?: SendNote): Promise<boolean>;
  /** Holds a claim for so many milliseconds from now on. `false`: the fence no longer holds; nothing was written. */
  renew(dispatchKey: string, fence: string, leaseMs: number): Promise<boolean>;
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
  /**
   * Gives back repairs that were claimed under a fence and not tried, as if they had not been: they may be claimed at
   * once. Returns how many.
   */
  releaseRepairs(dispatchKeys: readonly string[], fence: string): Promise<number>;
  /** Whether no run of a maintenance event has started for so many milliseconds. */
  isMaintenanceOverdue(afterMs: number): Promise<boolean>;
  /** Returns a window as recorded; `undefined` when none is. */
  find(dispatchKey: string): Promise<WindowRecord | undefined>;
}

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

/** A statement that ends a claim and notes the handshake that was sent with it, if `$3` names the build. */
function settleSendStatement(assignment: string): string {
  return `
WITH settled AS (${settleStatement(assignment)}, lane
), handshake AS (
  SELECT settled.lane, settled.dispatch_key, $3::text AS build FROM settled WHERE $3::text IS NOT NULL
), noted AS (${noteSent("handshake")}
)
SELECT dispatch_key FROM settled`;
}

const markEnqueuedStatement = settleSendStatement(
  "status = 'ENQUEUED', enqueued_at = clock_timestamp(), last_error = NULL",
);
const markFailedStatement = settleSendStatement(
  "status = 'ENQUEUE_FAILED', failure_count = failure_count + 1, last_error = $4",
);
const renewStatement = `
UPDATE evenkeel.background_dispatch_window
SET lease_expires_at = clock_timestamp() + $3::double precision * interval '1 millisecond', updated_at = clock_timestamp()
WHERE dispatch_key = $1 AND fence = $2::uuid AND status = 'DISPATCHING'
RETURNING dispatch_key`;

// A window that was sent stays sent, another is to be sent.
const releaseRepairsStatement = `
UPDATE evenkeel.background_dispatch_window AS dispatch_window SET
  status = CASE WHEN enqueued_at IS NULL THEN 'ENQUEUE_FAILED'::evenkeel.window_status ELSE 'ENQUEUED' END,
  lease_expires_at = NULL, next_repair_at = NULL, updated_at = clock_timestamp(),
  claim_count = greatest(claim_count - 1, 0), repair_count = greatest(repair_count - 1, 0)
WHERE dispatch_key IN (SELECT jsonb_array_elements_text($1::jsonb))
  AND fence = $2::uuid AND status = 'DISPATCHING'
RETURNING dispatch_key`;

// now(), and every status, for an index.
const maintenanceOverdueStatement = `
SELECT NOT EXISTS (
  SELECT FROM evenkeel.background_function_run AS run
  WHERE run.status IN ('RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED', 'STALE', 'SKIPPED_DUPLICATE')
    AND run.started_at > now() - $1::double precision * interval '1 millisecond'
    AND run.event_name = 'background/maintenance.requested'
) AS "isOverdue"`;

const markInlineStatement = settleStatement("status = 'INLINE_EMERGENCY'");

/** Creates the window store on a connection pool. */
export function createWindowStore(sql: Connections): WindowStore {
  const writes = async (text: string, values: readonly SqlValue[]): Promise<boolean> =>
    (await sql.query(text, values)).length === 1;
  return {
    look: (tick) => lookAtTick(sql, tick),
    wasIdle: (dispatchKey) => wasIdle(sql, dispatchKey),
    claim: (claim) => claimWindow(sql, claim),
    claimAndStart: (claim, start) => claimAndStart(sql, claim, start),
    beginFanOut: (dispatchKey) => beginFanOut(sql, dispatchKey),
    stepFanOut: (step) => stepFanOut(sql, step),
    findUnsettled: (jobs) => findUnsettled(sql, jobs),
    markEnqueued: (dispatchKey, fence, note) =>
      writes(markEnqueuedStatement, [dispatchKey, fence, note?.handshakeBuild ?? null]),
    markFailed: (dispatchKey, fence, error, note) =>
      writes(markFailedStatement, [
        dispatchKey,
        fence,
        note?.handshakeBuild ?? null,
        redactError(error),
      ]),
    renew: (dispatchKey, fence, leaseMs) => writes(renewStatement, [dispatchKey, fence, leaseMs]),
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
    releaseRepairs: async (dispatchKeys, fence) =>
      (await sql.query(releaseRepairsStatement, [JSON.stringify(dispatchKeys), fence])).length,
    isMaintenanceOverdue: async (afterMs) => {
      const [row] = await sql.query<{ isOverdue: boolean }>(maintenanceOverdueStatement, [afterMs]);
      return row?.isOverdue === true;
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
