import { randomUUID } from "node:crypto";

import type { SqlClient } from "../database/database.ts";
import type { RunIdentity, RunStore } from "../runs/run-store.ts";
import { toRecord, type WindowRecord, type WindowRow } from "./window-store.ts";

/** What to look for, and how far to go in one call. */
export interface ReconcileRequest {
  /** Names the repairing host. */
  readonly owner: string;
  /** How long the claims of repairs are good for, in milliseconds. */
  readonly leaseMs: number;
  /** How long a sent window may wait for its run before it is sent again, in milliseconds. */
  readonly neverStartedAfterMs: number;
  /** How old a window may be to be sent again, in milliseconds; an older one gets a dead letter. */
  readonly maxAgeMs: number;
  /** How long a run may be silent before it is stale, in milliseconds. */
  readonly staleAfterMs: number;
  /** Most windows and most runs taken up in one call. */
  readonly limit: number;
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

/** A run of the window `w` has started and has not fallen silent, however it ended. */
export const hasLiveRun = `EXISTS (
      SELECT FROM "evenkeel"."background_function_run" AS "r"
      WHERE "r"."dispatch_key" = "w"."dispatch_key"
        AND "r"."event_name" = 'background/process.requested' AND "r"."status" <> 'STALE'
    )`;

// Rows that another host is working on are skipped, so that many hosts can reconcile at once.
const repairStatement = `
WITH "undispatched" AS MATERIALIZED (
  SELECT "w"."dispatch_key",
    CASE "w"."status" WHEN 'DISPATCHING' THEN 'expired' ELSE 'send_failed' END AS "reason"
  FROM "evenkeel"."background_dispatch_window" AS "w"
  WHERE ("w"."status" = 'ENQUEUE_FAILED'
      OR ("w"."status" = 'DISPATCHING' AND "w"."lease_expires_at" <= clock_timestamp()))
    AND ("w"."window_start" > clock_timestamp() - $5::double precision * interval '1 millisecond' OR EXISTS (
      -- Old, and put back by an operator.
      SELECT FROM "evenkeel"."background_dead_letter" AS "d"
      WHERE "d"."kind" = 'DISPATCH' AND "d"."source_id" = "w"."dispatch_key" AND "d"."status" = 'REQUEUED'
        AND "d"."resolved_at" > clock_timestamp() - $5::double precision * interval '1 millisecond'
    ))
  ORDER BY "w"."lease_expires_at"
  LIMIT $4::int
  FOR UPDATE SKIP LOCKED
), "unstarted" AS MATERIALIZED (
  SELECT "w"."dispatch_key",
    CASE WHEN EXISTS (
      SELECT FROM "evenkeel"."background_function_run" AS "r"
      WHERE "r"."dispatch_key" = "w"."dispatch_key" AND "r"."event_name" = 'background/process.requested'
    ) THEN 'stale' ELSE 'never_started' END AS "reason"
  FROM "evenkeel"."background_dispatch_window" AS "w"
  WHERE "w"."status" = 'ENQUEUED'
    AND "w"."enqueued_at" < clock_timestamp() - $6::double precision * interval '1 millisecond'
    AND "w"."enqueued_at" > clock_timestamp() - $5::double precision * interval '1 millisecond'
    -- Sent again until it is too old: then it gets a dead letter.
    AND ("w"."repair_count" = 0 OR "w"."window_start" > clock_timestamp() - $5::double precision * interval '1 millisecond')
    AND NOT ${hasLiveRun}
  ORDER BY "w"."enqueued_at"
  LIMIT $4::int
  FOR UPDATE SKIP LOCKED
), "found" AS (
  SELECT * FROM "undispatched" UNION ALL SELECT * FROM "unstarted"
)
UPDATE "evenkeel"."background_dispatch_window" AS "w" SET
  "status" = 'DISPATCHING', "fence" = $1::uuid, "owner" = $2,
  "lease_expires_at" = clock_timestamp() + $3::double precision * interval '1 millisecond',
  "claim_count" = "w"."claim_count" + 1, "repair_count" = "w"."repair_count" + 1,
  "updated_at" = clock_timestamp()
FROM "found"
WHERE "w"."dispatch_key" = "found"."dispatch_key" AND NOT EXISTS (
  SELECT FROM "evenkeel"."background_schedule" AS "s" WHERE "s"."id" = "w"."schedule" AND "s"."paused"
)
RETURNING "w".*, "found"."reason"`;

/** The run `r` did the work of a window, or does it. One that has begun works once it holds the guard. */
export const executesWindow = `"r"."dispatch_key" IS NOT NULL
  AND ("r"."status" = 'SUCCEEDED' OR ("r"."status" = 'RUNNING' AND EXISTS (
    SELECT FROM "evenkeel"."background_dispatch_guard" AS "g"
    WHERE "g"."function_id" = "r"."function_id" AND "g"."dispatch_key" = "r"."dispatch_key"
      AND "g"."continuation" = "r"."continuation" AND "g"."run_id" = "r"."run_id"
  )))`;

const breachStatement = `
SELECT "function_id" AS "functionId", "dispatch_key" AS "dispatchKey", "continuation",
  array_agg("run_id" ORDER BY "started_at") AS "runIds"
FROM "evenkeel"."background_function_run" AS "r"
WHERE ${executesWindow}
  AND "started_at" > clock_timestamp() - $1::double precision * interval '1 millisecond'
GROUP BY "function_id", "dispatch_key", "continuation"
HAVING count(*) > 1
LIMIT $2::int`;

// What is too old to be repaired waits for an operator, unless one has just put it back or has closed it.
const giveUpStatement = `
WITH "undone" AS (
  SELECT "dispatch_key" FROM "evenkeel"."background_dispatch_window"
  WHERE "status" = 'ENQUEUE_FAILED'
    OR ("status" = 'DISPATCHING' AND "lease_expires_at" <= clock_timestamp())
  UNION ALL
  SELECT "w"."dispatch_key" FROM "evenkeel"."background_dispatch_window" AS "w"
  WHERE "w"."status" = 'ENQUEUED' AND "w"."repair_count" > 0
    AND "w"."enqueued_at" < clock_timestamp() - $3::double precision * interval '1 millisecond'
    AND NOT ${hasLiveRun}
)
INSERT INTO "evenkeel"."background_dead_letter"
  ("kind", "source_id", "tenant_id", "name", "reason", "error", "payload", "previous_id")
SELECT 'DISPATCH', "w"."dispatch_key", "w"."tenant_id", "w"."schedule",
  CASE "w"."status" WHEN 'DISPATCHING' THEN 'stale' ELSE 'exhausted' END,
  coalesce("w"."last_error", CASE "w"."status"
    WHEN 'ENQUEUED' THEN 'The window was sent ' || "w"."claim_count" || ' times and its run never started.'
    ELSE 'The window was claimed and never sent.' END),
  jsonb_build_object('schedule', "w"."schedule", 'windowStart', "w"."window_start",
    'windowSeconds', "w"."window_seconds", 'params', "w"."params"),
  "earlier"."id"
FROM "undone" JOIN "evenkeel"."background_dispatch_window" AS "w" USING ("dispatch_key")
LEFT JOIN LATERAL (
  SELECT "d"."id", "d"."status", "d"."resolved_at" FROM "evenkeel"."background_dead_letter" AS "d"
  WHERE "d"."kind" = 'DISPATCH' AND "d"."source_id" = "w"."dispatch_key"
  ORDER BY "d"."created_at" DESC LIMIT 1
) AS "earlier" ON true
WHERE "w"."window_start" <= clock_timestamp() - $1::double precision * interval '1 millisecond'
  AND ("earlier"."id" IS NULL OR ("earlier"."status" = 'REQUEUED'
    AND "earlier"."resolved_at" <= clock_timestamp() - $1::double precision * interval '1 millisecond'))
LIMIT $2::int
ON CONFLICT ("kind", "source_id") WHERE "status" = 'OPEN' DO NOTHING
RETURNING "source_id" AS "dispatchKey"`;

/**
 * Finds what the dispatch path left undone and claims its repair: windows whose host died or whose send
 * failed, windows that were sent and whose run never started, or started and fell silent; and reports
 * windows that ran twice. Bounded by `limit`; any number of hosts may call it at once.
 */
export async function reconcile(
  sql: SqlClient,
  runs: Pick<RunStore, "markStale">,
  request: ReconcileRequest,
): Promise<Reconciliation> {
  const { owner, leaseMs, limit, maxAgeMs, neverStartedAfterMs, staleAfterMs } = request;
  const stale = await runs.markStale({ silentMs: staleAfterMs, limit });
  const fence = randomUUID();
  const rows = await sql.query<WindowRow & { readonly reason: RepairReason }>(repairStatement, [
    fence,
    owner,
    leaseMs,
    limit,
    maxAgeMs,
    neverStartedAfterMs,
  ]);
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
