import { randomUUID } from "node:crypto";

import type { JsonValue, Lane } from "@evenkeel/core";

import type { SqlClient, SqlValue } from "../database/database.ts";
import { redactError } from "../database/redaction.ts";
import { findUnrecorded, recordMissed, recordStarted } from "./window-gaps.ts";
import type { WindowStatus } from "./window.ts";

/** The window that a tick asks to dispatch. */
export interface WindowClaim {
  readonly dispatchKey: string;
  readonly schedule: string;
  /** `global` or `tenant:<id>`. */
  readonly scope: string;
  readonly tenantId?: string;
  readonly windowStart: Date;
  readonly windowSeconds: number;
  readonly lane: Lane;
  /** The parameters that are part of the key. */
  readonly params?: Readonly<Record<string, JsonValue>>;
  /** Skip the window while a run of an earlier one of this schedule and scope is under way. */
  readonly skipOnOverlap?: boolean;
  /** Names the claiming host for people; it is no fence. */
  readonly owner: string;
  readonly correlationId: string;
  /** How long the claim is good for, in milliseconds of the database's clock. */
  readonly leaseMs: number;
}

/** The answer to a claim. */
export type ClaimOutcome =
  | { readonly outcome: "claimed"; readonly fence: string; readonly claimCount: number }
  | { readonly outcome: "duplicate"; readonly window: WindowRecord }
  | { readonly outcome: "paused"; readonly reason: string | null }
  /** An earlier window's run is under way; the window is on record as left out. */
  | { readonly outcome: "overlap"; readonly window: WindowRecord };

/** A window as recorded. */
export interface WindowRecord {
  readonly dispatchKey: string;
  readonly schedule: string;
  readonly scope: string;
  readonly tenantId: string | null;
  readonly windowStart: Date;
  readonly windowSeconds: number;
  readonly lane: Lane;
  readonly status: WindowStatus;
  readonly owner: string;
  readonly correlationId: string;
  /** How often it was claimed: more than once after a failed send or a dead host. */
  readonly claimCount: number;
  /** How many ticks found it dispatched or being dispatched. */
  readonly duplicateCount: number;
  /** How many sends failed. */
  readonly failureCount: number;
  readonly lastError: string | null;
  readonly leaseExpiresAt: Date | null;
  readonly enqueuedAt: Date | null;
  readonly params: Readonly<Record<string, JsonValue>> | null;
  /** How often a repair has sent it again. */
  readonly repairCount: number;
}

/** A window that no tick asked for. */
export type MissedWindow = Pick<
  WindowClaim,
  | "dispatchKey"
  | "schedule"
  | "scope"
  | "tenantId"
  | "windowStart"
  | "windowSeconds"
  | "lane"
  | "owner"
>;

/** A window whose run has started. */
export type StartedWindow = Omit<WindowClaim, "leaseMs" | "skipOnOverlap">;

/** The record of dispatch windows. Each method is one statement; the database's clock decides. */
export interface WindowStore {
  /**
   * Claims a window under a new fence: a new one, one whose send failed, one whose claim expired, or one
   * that was missed. Otherwise counts a duplicate and answers what is recorded. A paused schedule is not claimed.
   */
  claim(claim: WindowClaim): Promise<ClaimOutcome>;
  /** Records that the events were sent. `false`: the fence no longer holds; nothing was written. */
  markEnqueued(dispatchKey: string, fence: string): Promise<boolean>;
  /** Records that the send failed; the next tick may claim at once. `false`: the fence no longer holds. */
  markFailed(dispatchKey: string, fence: string, error: string): Promise<boolean>;
  /** Records that the work ran inline. `false`: the fence no longer holds. */
  markInline(dispatchKey: string, fence: string): Promise<boolean>;
  /**
   * Records windows that no tick asked for and that will not be caught up with; answers how many. A window
   * that is on record already is left as it is.
   */
  recordMissed(missed: readonly MissedWindow[]): Promise<number>;
  /**
   * Records a window that was sent while the ledger was away, or was taken for missed. `false`: it is on record
   * already, and nothing was written.
   */
  recordStarted(window: StartedWindow): Promise<boolean>;
  /** Those of the dispatch keys that no window on record has, in the order given. */
  unrecorded(dispatchKeys: readonly string[]): Promise<string[]>;
  find(dispatchKey: string): Promise<WindowRecord | undefined>;
}

// A tick that finds the window claimable takes it under its own fence; any other counts as a duplicate.
// The conflicting row is locked by the update, so of many concurrent ticks one sees it claimable.
const claimStatement = `
WITH "paused" AS (
  SELECT "pause_reason" FROM "evenkeel"."background_schedule" WHERE "id" = $2 AND "paused"
), "overlapping" AS (
  SELECT FROM "evenkeel"."background_function_run" AS "r"
  JOIN "evenkeel"."background_dispatch_window" AS "o" ON "o"."dispatch_key" = "r"."dispatch_key"
  WHERE $13::boolean AND "r"."status" = 'RUNNING' AND "r"."event_name" = 'background/process.requested'
    AND "o"."schedule" = $2 AND "o"."scope" = $3 AND "o"."window_start" < $5::timestamptz
  LIMIT 1
), "claim" AS (
  INSERT INTO "evenkeel"."background_dispatch_window" AS "w" (
    "dispatch_key", "schedule", "scope", "tenant_id", "window_start", "window_seconds", "lane",
    "owner", "correlation_id", "fence", "status", "lease_expires_at", "params"
  )
  SELECT $1, $2, $3, $4, $5::timestamptz, $6::int, $7::"evenkeel"."lane", $8, $9, $10::uuid,
    CASE WHEN EXISTS (SELECT FROM "overlapping") THEN 'SKIPPED_OVERLAP'::"evenkeel"."window_status"
      ELSE 'DISPATCHING' END,
    CASE WHEN NOT EXISTS (SELECT FROM "overlapping")
      THEN clock_timestamp() + $11::double precision * interval '1 millisecond' END,
    $12::jsonb
  WHERE NOT EXISTS (SELECT 1 FROM "paused")
  ON CONFLICT ("dispatch_key") DO UPDATE SET
    ("status", "fence", "owner", "correlation_id", "lease_expires_at", "claim_count", "duplicate_count", "updated_at") = (
      SELECT
        CASE WHEN "free" THEN 'DISPATCHING'::"evenkeel"."window_status" ELSE "w"."status" END,
        CASE WHEN "free" THEN excluded."fence" ELSE "w"."fence" END,
        CASE WHEN "free" THEN excluded."owner" ELSE "w"."owner" END,
        CASE WHEN "free" THEN excluded."correlation_id" ELSE "w"."correlation_id" END,
        CASE WHEN "free" THEN excluded."lease_expires_at" ELSE "w"."lease_expires_at" END,
        "w"."claim_count" + "free"::int,
        "w"."duplicate_count" + (NOT "free")::int,
        clock_timestamp()
      FROM (
        SELECT "w"."status" IN ('ENQUEUE_FAILED', 'MISSED')
          OR ("w"."status" = 'DISPATCHING' AND "w"."lease_expires_at" <= clock_timestamp()) AS "free"
      ) AS "decision"
    )
  RETURNING "w".*
)
SELECT "claim".*, "claim"."fence" = $10::uuid AS "claimed", "paused"."pause_reason",
  "claim"."dispatch_key" IS NULL AS "is_paused",
  -- A count of duplicates is worth no wait for the disk, and they queue behind each other on the row.
  CASE WHEN "claim"."fence" <> $10::uuid THEN set_config('synchronous_commit', 'off', true) END AS "relaxed"
FROM (SELECT 1) AS "one"
LEFT JOIN "claim" ON true
LEFT JOIN "paused" ON true`;

/** The window store on a connection pool. */
export function createWindowStore(sql: SqlClient): WindowStore {
  const settle = async (assignment: string, values: readonly SqlValue[]): Promise<boolean> => {
    const rows = await sql.query(
      `UPDATE "evenkeel"."background_dispatch_window"
       SET ${assignment}, "lease_expires_at" = NULL, "updated_at" = clock_timestamp()
       WHERE "dispatch_key" = $1 AND "fence" = $2::uuid AND "status" = 'DISPATCHING'
       RETURNING "dispatch_key"`,
      values,
    );
    return rows.length === 1;
  };
  return {
    claim: async (claim) => {
      const [row] = await sql.query<ClaimRow>(claimStatement, [
        claim.dispatchKey,
        claim.schedule,
        claim.scope,
        claim.tenantId ?? null,
        claim.windowStart.toISOString(),
        claim.windowSeconds,
        claim.lane,
        claim.owner,
        claim.correlationId,
        randomUUID(),
        claim.leaseMs,
        claim.params === undefined ? null : JSON.stringify(claim.params),
        claim.skipOnOverlap ?? false,
      ]);
      if (row === undefined || row.is_paused) {
        return { outcome: "paused", reason: row?.pause_reason ?? null };
      }
      if (row.claimed && row.status === "SKIPPED_OVERLAP") {
        return { outcome: "overlap", window: toRecord(row) };
      }
      return row.claimed
        ? { outcome: "claimed", fence: row.fence, claimCount: row.claim_count }
        : { outcome: "duplicate", window: toRecord(row) };
    },
    markEnqueued: (dispatchKey, fence) =>
      settle(`"status" = 'ENQUEUED', "enqueued_at" = clock_timestamp(), "last_error" = NULL`, [
        dispatchKey,
        fence,
      ]),
    markFailed: (dispatchKey, fence, error) =>
      settle(
        `"status" = 'ENQUEUE_FAILED', "failure_count" = "failure_count" + 1, "last_error" = $3`,
        [dispatchKey, fence, redactError(error)],
      ),
    markInline: (dispatchKey, fence) =>
      settle(`"status" = 'INLINE_EMERGENCY'`, [dispatchKey, fence]),
    recordMissed: (missed) => recordMissed(sql, missed),
    recordStarted: (window) => recordStarted(sql, window),
    unrecorded: (dispatchKeys) => findUnrecorded(sql, dispatchKeys),
    find: async (dispatchKey) => {
      const [row] = await sql.query<WindowRow>(
        `SELECT * FROM "evenkeel"."background_dispatch_window" WHERE "dispatch_key" = $1`,
        [dispatchKey],
      );
      return row === undefined ? undefined : toRecord(row);
    },
  };
}

/** A row of the table. */
export interface WindowRow {
  readonly dispatch_key: string;
  readonly schedule: string;
  readonly scope: string;
  readonly tenant_id: string | null;
  readonly window_start: Date;
  readonly window_seconds: number;
  readonly lane: Lane;
  readonly status: WindowStatus;
  readonly owner: string;
  readonly fence: string;
  readonly correlation_id: string;
  readonly claim_count: number;
  readonly duplicate_count: number;
  readonly failure_count: number;
  readonly last_error: string | null;
  readonly lease_expires_at: Date | null;
  readonly enqueued_at: Date | null;
  readonly params: Readonly<Record<string, JsonValue>> | null;
  readonly repair_count: number;
}

interface ClaimRow extends WindowRow {
  readonly claimed: boolean;
  readonly is_paused: boolean;
  readonly pause_reason: string | null;
}

/** A row as {@link WindowRecord}. */
export function toRecord(row: WindowRow): WindowRecord {
  return {
    dispatchKey: row.dispatch_key,
    schedule: row.schedule,
    scope: row.scope,
    tenantId: row.tenant_id,
    windowStart: row.window_start,
    windowSeconds: row.window_seconds,
    lane: row.lane,
    status: row.status,
    owner: row.owner,
    correlationId: row.correlation_id,
    claimCount: row.claim_count,
    duplicateCount: row.duplicate_count,
    failureCount: row.failure_count,
    lastError: row.last_error,
    leaseExpiresAt: row.lease_expires_at,
    enqueuedAt: row.enqueued_at,
    params: row.params,
    repairCount: row.repair_count,
  };
}
