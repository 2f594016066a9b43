import type { SqlClient } from "../database/database.ts";
import { toScheduleRecord, type ScheduleRecord, type ScheduleRow } from "./schedule.ts";

/** Schedules as an operator decides about them. Each decision is audited, and holds across deploys. */
export interface OperatorSchedules {
  /** Pauses a schedule: its ticks return `paused` and claim nothing. Pausing again keeps the first time. */
  pause(id: string, decision?: { readonly reason?: string }): Promise<ScheduleRecord>;
  /** Lets a schedule dispatch again. */
  resume(id: string, decision?: { readonly reason?: string }): Promise<ScheduleRecord>;
}

const decideStatement = `
WITH before AS (
  SELECT paused FROM evenkeel.background_schedule WHERE id = $1
), schedule AS (
  INSERT INTO evenkeel.background_schedule AS schedule (id, paused, paused_at, paused_by, pause_reason)
  VALUES ($1, $3::boolean, CASE WHEN $3::boolean THEN clock_timestamp() END,
    CASE WHEN $3::boolean THEN $2 END, CASE WHEN $3::boolean THEN $4::text END)
  ON CONFLICT (id) DO UPDATE SET
    paused = excluded.paused,
    paused_at = CASE WHEN excluded.paused AND schedule.paused THEN schedule.paused_at ELSE excluded.paused_at END,
    paused_by = excluded.paused_by,
    pause_reason = excluded.pause_reason,
    updated_at = clock_timestamp()
  RETURNING *
), audit AS (
  INSERT INTO evenkeel.background_audit_entry
    (actor, action, subject_kind, subject_id, before, after, reason)
  SELECT $2, CASE WHEN $3::boolean THEN 'schedule.pause' ELSE 'schedule.resume' END, 'schedule', $1,
    jsonb_build_object('paused', coalesce((SELECT paused FROM before), false)),
    jsonb_build_object('paused', $3::boolean), $4::text
)
SELECT * FROM schedule`;

/** Pauses or resumes a schedule, and audits it in the same statement. */
export async function decideSchedule(
  sql: SqlClient,
  actor: string,
  decision: { readonly id: string; readonly paused: boolean; readonly reason: string | undefined },
): Promise<ScheduleRecord> {
  const [row] = await sql.query<ScheduleRow>(decideStatement, [
    decision.id,
    actor,
    decision.paused,
    decision.reason ?? null,
  ]);
  if (row === undefined) throw new Error("A decision about a schedule came back without a row.");
  return toScheduleRecord(row);
}
