import { randomUUID } from "node:crypto";

import type { Connections } from "../database/connections.ts";
import type { SqlClient, SqlValue } from "../database/database.ts";
import { isUnreachable } from "../database/ledger-error.ts";
import { defineStatement } from "../database/statement.ts";
import type { PgQueryable } from "../database/transaction-client.ts";
import { readingOf, type HandshakeReading } from "../handshake/handshake.ts";
import { overlapping, type OverlapParameter } from "./overlap.ts";
import {
  describeWindow,
  dispatchEvents,
  toRecord,
  type ClaimOutcome,
  type WindowClaim,
  type WindowParameter,
  type WindowRow,
} from "./window.ts";

/*
 * Who may dispatch a window. A tick meets one of these:
 *
 * - The window is not on record: the tick claims it, or records that it is skipped, as an earlier run is under way.
 * - Its send failed (`ENQUEUE_FAILED`), or no tick came in its time (`MISSED`): the tick claims it again at once.
 * - Its host is dispatching it (`DISPATCHING`): the tick is a duplicate, until the claim's lease has expired. Then
 *   the tick claims it again.
 * - Anything else: the tick is a duplicate.
 *
 * Each claim has a fence of its own, so that what an earlier claimant still writes is refused.
 */

// A tick that finds the window claimable takes it under its own fence; any other counts as a duplicate.
// The conflicting row is locked by the update, so of many concurrent ticks one sees it claimable.
const claimStatement = defineStatement<
  WindowParameter | OverlapParameter | "fence" | "leaseMs" | "events"
>(`
WITH paused AS (
  SELECT pause_reason FROM evenkeel.background_schedule WHERE id = :schedule AND paused
), overlapping AS (
  SELECT WHERE ${overlapping}
), claim AS (
  INSERT INTO evenkeel.background_dispatch_window AS dispatch_window (
    dispatch_key, schedule, scope, tenant_id, window_start, window_seconds, lane,
    owner, correlation_id, fence, status, lease_expires_at, params, events
  )
  SELECT :dispatchKey, :schedule, :scope, :tenantId, :windowStart::timestamptz, :windowSeconds::int,
    :lane::evenkeel.lane, :owner, :correlationId, :fence::uuid,
    CASE WHEN EXISTS (SELECT FROM overlapping) THEN 'SKIPPED_OVERLAP'::evenkeel.window_status
      ELSE 'DISPATCHING' END,
    CASE WHEN NOT EXISTS (SELECT FROM overlapping)
      THEN clock_timestamp() + :leaseMs::double precision * interval '1 millisecond' END,
    :params::jsonb, :events::jsonb
  WHERE NOT EXISTS (SELECT 1 FROM paused)
  ON CONFLICT (dispatch_key) DO UPDATE SET
    (
      status, fence, owner, correlation_id, lease_expires_at, claim_count, duplicate_count, updated_at,
      events
    ) = (
      SELECT
        CASE WHEN free THEN 'DISPATCHING'::evenkeel.window_status ELSE dispatch_window.status END,
        CASE WHEN free THEN excluded.fence ELSE dispatch_window.fence END,
        CASE WHEN free THEN excluded.owner ELSE dispatch_window.owner END,
        CASE WHEN free THEN excluded.correlation_id ELSE dispatch_window.correlation_id END,
        CASE WHEN free THEN clock_timestamp() + :leaseMs::double precision * interval '1 millisecond' ELSE dispatch_window.lease_expires_at END,
        dispatch_window.claim_count + free::int,
        dispatch_window.duplicate_count + (NOT free)::int,
        clock_timestamp(),
        CASE WHEN free THEN excluded.events ELSE dispatch_window.events END
      FROM (
        SELECT dispatch_window.status IN ('ENQUEUE_FAILED', 'MISSED')
          OR (dispatch_window.status = 'DISPATCHING' AND dispatch_window.lease_expires_at <= clock_timestamp()) AS free
      ) AS decision
    )
  RETURNING dispatch_window.*
)
SELECT claim.*, claim.fence = :fence::uuid AS claimed, paused.pause_reason,
  claim.dispatch_key IS NULL AS is_paused, ${readingOf(":lane::evenkeel.lane")} AS handshake,
  -- A count of duplicates is worth no wait for the disk, and they queue behind each other on the row.
  CASE WHEN claim.fence <> :fence::uuid THEN set_config('synchronous_commit', 'off', true) END AS relaxed
FROM (SELECT 1) AS one
LEFT JOIN claim ON true
LEFT JOIN paused ON true`);

interface ClaimRow extends WindowRow {
  readonly claimed: boolean;
  readonly is_paused: boolean;
  readonly pause_reason: string | null;
  readonly handshake: HandshakeReading;
}

/**
 * Claims a window as {@link claimWindow} does, and starts what the window starts in the same transaction: it exists if and
 * only if the window is claimed. A window that is claimed again has started it already.
 */
export async function claimAndStart(
  connections: Pick<Connections, "hold">,
  claim: WindowClaim,
  start: (tx: PgQueryable) => Promise<unknown>,
): Promise<ClaimOutcome> {
  return connections.hold(async (sql) => {
    await sql.query("BEGIN");
    try {
      const outcome = await claimWindow(sql, claim);
      if (outcome.outcome === "claimed" && outcome.claimCount === 1) {
        await start({
          query: async (text, values = []) => ({
            // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- values of the ledger's own statements
            rows: await sql.query(text, values as SqlValue[]),
          }),
        });
      }
      await sql.query("COMMIT");
      return outcome;
    } catch (error) {
      if (!isUnreachable(error)) await sql.query("ROLLBACK").catch(() => {});
      throw error;
    }
  });
}

/** Claims a window under a new fence, or counts a duplicate and returns what is recorded. */
export async function claimWindow(sql: SqlClient, claim: WindowClaim): Promise<ClaimOutcome> {
  const [row] = await sql.query<ClaimRow>(
    claimStatement.text,
    claimStatement.values({
      ...describeWindow(claim),
      fence: randomUUID(),
      leaseMs: claim.leaseMs,
      skipOnOverlap: claim.skipOnOverlap ?? false,
      events: JSON.stringify(claim.events ?? dispatchEvents),
      jobTenant: claim.started?.tenantId ?? null,
      jobType: claim.started?.type ?? null,
      jobKeysFrom: claim.started?.keysFrom ?? null,
      jobKeysUntil: claim.started?.keysUntil ?? null,
      jobKey: claim.started?.uniqueKey ?? null,
    }),
  );
  if (row === undefined) return { outcome: "paused", reason: null };
  const { handshake } = row;
  if (row.is_paused) return { outcome: "paused", reason: row.pause_reason, handshake };
  if (!row.claimed) return { outcome: "duplicate", window: toRecord(row), handshake };
  return row.status === "SKIPPED_OVERLAP"
    ? { outcome: "overlap", window: toRecord(row), handshake }
    : { outcome: "claimed", fence: row.fence, claimCount: row.claim_count, handshake };
}
