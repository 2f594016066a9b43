import type { Lane } from "@evenkeel/core";

import type { SqlClient } from "../database/database.ts";

/**
 * Acquires or renews a lane's poller lease, which one drain at a time holds. now() and not clock_timestamp(): an
 * acquisition that waited for a lock counts from before the wait, so that no lease lasts longer than its holder believes.
 *
 * @returns `false`: another drain's lease has not expired.
 */
export async function acquireLanePoller(
  sql: SqlClient,
  {
    lane,
    pollerId,
    forMs,
  }: { readonly lane: Lane; readonly pollerId: string; readonly forMs: number },
): Promise<boolean> {
  const rows = await sql.query(
    `INSERT INTO evenkeel.background_job_poller AS poller (lane, poller_id, lease_expires_at)
     VALUES ($1::evenkeel.lane, $2::uuid, now() + $3::int * interval '1 millisecond')
     ON CONFLICT (lane) DO UPDATE
     SET poller_id = EXCLUDED.poller_id, lease_expires_at = EXCLUDED.lease_expires_at
     WHERE poller.poller_id = EXCLUDED.poller_id OR poller.lease_expires_at <= now()
     RETURNING lane`,
    [lane, pollerId, forMs],
  );
  return rows.length > 0;
}

/** Releases a lane's poller lease. It does nothing where another drain holds it. */
export async function releaseLanePoller(
  sql: SqlClient,
  { lane, pollerId }: { readonly lane: Lane; readonly pollerId: string },
): Promise<void> {
  await sql.query(
    `UPDATE evenkeel.background_job_poller SET lease_expires_at = '-infinity'
     WHERE lane = $1::evenkeel.lane AND poller_id = $2::uuid`,
    [lane, pollerId],
  );
}

/** Returns whether a drain holds the lane's poller lease at this moment. */
export async function hasLanePoller(sql: SqlClient, lane: Lane): Promise<boolean> {
  const rows = await sql.query(
    `SELECT FROM evenkeel.background_job_poller
     WHERE lane = $1::evenkeel.lane AND lease_expires_at > clock_timestamp()`,
    [lane],
  );
  return rows.length > 0;
}
