import type { Lane } from "@evenkeel/events";

import type { SqlClient } from "./database.ts";

/** See {@link JobStore.attend}. */
export async function attendLane(
  sql: SqlClient,
  {
    lane,
    attendant,
    forMs,
  }: { readonly lane: Lane; readonly attendant: string; readonly forMs: number },
): Promise<boolean> {
  const rows = await sql.query(
    `INSERT INTO evenkeel.background_job_attendance AS held (lane, attendant, attended_until)
     VALUES ($1::evenkeel.lane, $2::uuid, now() + $3::int * interval '1 millisecond')
     ON CONFLICT (lane) DO UPDATE
     SET attendant = EXCLUDED.attendant, attended_until = EXCLUDED.attended_until
     WHERE held.attendant = EXCLUDED.attendant OR held.attended_until <= now()
     RETURNING lane`,
    [lane, attendant, forMs],
  );
  return rows.length > 0;
}

/** See {@link JobStore.leave}. */
export async function leaveLane(
  sql: SqlClient,
  { lane, attendant }: { readonly lane: Lane; readonly attendant: string },
): Promise<void> {
  await sql.query(
    `UPDATE evenkeel.background_job_attendance SET attended_until = '-infinity'
     WHERE lane = $1::evenkeel.lane AND attendant = $2::uuid`,
    [lane, attendant],
  );
}

/** See {@link JobStore.isAttended}. */
export async function isLaneAttended(sql: SqlClient, lane: Lane): Promise<boolean> {
  const rows = await sql.query(
    `SELECT FROM evenkeel.background_job_attendance
     WHERE lane = $1::evenkeel.lane AND attended_until > clock_timestamp()`,
    [lane],
  );
  return rows.length > 0;
}
