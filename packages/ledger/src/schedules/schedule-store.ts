import type { SqlClient } from "../database/database.ts";
import {
  toScheduleRecord,
  type ScheduleDeclaration,
  type ScheduleProgress,
  type ScheduleRecord,
  type ScheduleRow,
} from "./schedule.ts";

/** The operators' decisions about schedules. They hold until an operator changes them, across deploys. */
export interface ScheduleStore {
  /** Mirrors declarations. What operators decided stays: a deploy pauses and resumes nothing. */
  declare(declarations: readonly ScheduleDeclaration[]): Promise<void>;
  /** Where schedules that are not paused stand, one row per scope with windows of the last day. */
  progress(ids: readonly string[]): Promise<ScheduleProgress[]>;
  /** `undefined`: no operator ever decided about it; it runs. */
  find(id: string): Promise<ScheduleRecord | undefined>;
}

/** Creates the schedule store on a connection pool. */
export function createScheduleStore(sql: SqlClient): ScheduleStore {
  return {
    declare: async (declarations) => {
      await sql.query(
        `INSERT INTO evenkeel.background_schedule AS schedule (id, paused, paused_at, paused_by, definition)
         SELECT declared.id, declared.paused, CASE WHEN declared.paused THEN clock_timestamp() END,
           CASE WHEN declared.paused THEN 'declaration' END, declared.definition
         FROM jsonb_to_recordset($1::jsonb) AS declared (id text, paused boolean, definition jsonb)
         ON CONFLICT (id) DO UPDATE SET definition = excluded.definition
         WHERE schedule.definition IS DISTINCT FROM excluded.definition`,
        [JSON.stringify(declarations)],
      );
    },
    progress: (ids) =>
      sql.query<ScheduleProgress>(
        `SELECT schedule.id AS schedule, dispatch_window.tenant_id AS "tenantId",
           greatest(schedule.updated_at, CASE WHEN dispatch_window.tenant_id IS NOT NULL THEN min(dispatch_window.window_start)
             -- Gaps are looked for in the last day, or since the newest window if that is older: what was
             -- pruned must not count as missed.
             ELSE least(clock_timestamp() - interval '1 day', (
               SELECT newest.window_start FROM evenkeel.background_dispatch_window AS newest
               WHERE newest.schedule = schedule.id ORDER BY newest.window_start DESC LIMIT 1
             )) END) AS since,
           max(dispatch_window.window_start) AS newest
         FROM evenkeel.background_schedule AS schedule
         LEFT JOIN evenkeel.background_dispatch_window AS dispatch_window
           ON dispatch_window.schedule = schedule.id AND dispatch_window.window_start > clock_timestamp() - interval '1 day'
         WHERE NOT schedule.paused AND schedule.id IN (SELECT jsonb_array_elements_text($1::jsonb))
         GROUP BY schedule.id, dispatch_window.tenant_id`,
        [JSON.stringify(ids)],
      ),
    find: async (id) => {
      const [row] = await sql.query<ScheduleRow>(
        `SELECT * FROM evenkeel.background_schedule WHERE id = $1`,
        [id],
      );
      return row === undefined ? undefined : toScheduleRecord(row);
    },
  };
}
